"""What only a GPU shows: run with `./inv dev.gpu`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lib import device, loader, optim, predict, surgery, train
from lib.course import course
from lib.errors import UserError
from lib.options import Training
from lib.spec import Spec
from tests.conftest import toy_split, without_dropout

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]
ROOT = Path(__file__).resolve().parent.parent
OPTIONS = Training(
    epochs=4, batch_size=8, optimizer="sgd", learning_rate=0.05, pool=2, metric="accuracy"
)


def begun(
    spec: Spec, model: Path, options: Training, *, to: str = "cuda"
) -> tuple[train.State, Iterator[dict[str, Any]]]:
    """A state, and the records of its training on 50 rows: 7 steps an epoch."""
    torch.manual_seed(0)
    rows = toy_split(50)
    state = train.begin(
        surgery.build(spec, model=model).to(to), options, course(options, rows).total
    )
    validate = partial(
        predict.validate, state.model, toy_split(13, seed=1), class_names=("low", "high")
    )
    records = train.steps(state, rows, options, loss_fn=optim.cross_entropy(), validate=validate)
    return state, records


def losses(records: Iterator[dict[str, Any]], n: int = 20) -> list[float]:
    found = [float(record["loss"]) for record in records if record["event"] == "step"]
    return found[:n]


def test_a_gpu_in_float32_learns_what_the_cpu_learns(toy_spec: Spec, toy_model: Path) -> None:
    spec, model = replace(toy_spec, dropout=0.0), without_dropout(toy_model)
    options = replace(OPTIONS, amp="off")
    found = losses(begun(spec, model, options)[1])
    expected = losses(begun(spec, model, options, to="cpu")[1])
    assert len(found) == 20
    # Other kernels add up in another order, and may round products to TF32: 1e-3 of a value.
    assert found == pytest.approx(expected, abs=5e-3)


def test_mixed_precision_is_bfloat16_in_the_passes_and_float32_in_weights_and_loss(
    toy_spec: Spec, toy_model: Path
) -> None:
    place = torch.device("cuda")
    dtype = predict.precision("auto", place)
    assert dtype is (torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
    state, records = begun(toy_spec, toy_model, replace(OPTIONS, optimizer="adamw"))
    seen: list[torch.dtype] = []
    model: Any = state.model
    model.layers[0].attention.output.dense.register_forward_hook(
        lambda _, __, out: seen.append(out.dtype)
    )
    record = next(records)
    assert dtype in seen, "products are computed in it"
    assert record["loss"].dtype is torch.float32
    assert {parameter.dtype for parameter in state.model.parameters()} == {torch.float32}
    assert state.optimizer.defaults["fused"] is True


def test_batches_come_from_pinned_memory(
    toy_spec: Spec, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[bool] = []
    to = loader._to

    def spy(batch: loader.Batch, place: torch.device) -> loader.Batch:
        pinned.extend(value.is_pinned() for value in batch.values())
        return to(batch, place)

    monkeypatch.setattr(loader, "_to", spy)
    split = toy_split(8)
    (batch,) = loader.batches(split, [split.ids], device=torch.device("cuda"))
    assert pinned
    assert all(pinned)
    assert all(value.is_cuda for value in batch.values())


def test_no_step_waits_for_the_gpu(toy_spec: Spec, toy_model: Path) -> None:
    options = replace(OPTIONS, epochs=3, optimizer="adamw")
    state, records = begun(toy_spec, toy_model, options)
    for _ in range(3):  # the first ones make kernels and optimizer state
        next(records)
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):  # the seventh ends the epoch, and validates
            assert next(records)["event"] == "step"
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert state.step == 6


def test_hiding_frames_of_speech_asks_the_gpu_nothing() -> None:
    from transformers import HubertConfig, HubertModel

    from lib.models import Classifier
    from tests.test_speech_model import SMALL

    classifier = Classifier(
        HubertModel(HubertConfig(**SMALL)), n_classes=2, pooling="mean", mask_time=0.2
    )
    classifier.to("cuda").train()
    inputs = {"input_values": torch.randn(3, 8000, device="cuda")}
    n_samples = torch.tensor([[8000], [6000], [5000]], device="cuda")
    inputs["attention_mask"] = (torch.arange(8000, device="cuda") < n_samples).long()
    classifier(**inputs).sum().backward()  # makes kernels
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        classifier(**inputs).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    torch.cuda.synchronize()


def test_a_gradient_that_is_not_finite_leaves_the_weights_until_the_host_looks(
    toy_spec: Spec, toy_model: Path
) -> None:
    state, records = begun(toy_spec, toy_model, replace(OPTIONS, amp="off"))
    next(records)
    weights = {name: value.clone() for name, value in state.model.state_dict().items()}
    model: Any = state.model
    with torch.no_grad():
        model.head[-1].bias.fill_(torch.nan)
    with pytest.raises(UserError, match="the loss is nan at step 2 "):
        list(records)
    now = model.state_dict()
    assert all(torch.equal(now[name], of) for name, of in weights.items() if "head" not in name)


def test_deterministic_runs_repeat_bit_by_bit(toy_spec: Spec, toy_model: Path) -> None:
    code = f"""
import torch
from pathlib import Path
from lib import device
from tests import test_gpu
device.deterministic()
from lib.spec import Spec, read_encoder_config
model = Path({str(toy_model)!r})
spec = Spec(encoder=read_encoder_config(model), labels=("low", "high"))
print(test_gpu.losses(test_gpu.begun(spec, model, test_gpu.OPTIONS)[1]))
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert said[0] == said[1]
    assert said[0].count(",") == 19


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_learn_what_one_learns(tmp_path: Path) -> None:
    from scripts import scratch_bert
    from tests.test_tokens import many, prepared

    data = prepared(tmp_path, many(48))
    size: dict[str, Any] = {"layers": 2, "width": 64}
    scratch_bert.main(scratch_bert.Config(data=str(data), name="m", out=str(tmp_path), **size))
    flags = ["--data", str(data), "--model", str(tmp_path / "m"), "--dropout", "0", "--amp", "off"]
    flags += ["--optimizer", "sgd", "--learning-rate", "0.05", "--epochs", "4", "--metric", "loss"]
    figures = []
    for n, batch in ((1, 8), (2, 4)):
        told = ["--gpus", str(n), "--batch-size", str(batch), "--out", str(tmp_path / str(n))]
        line = [sys.executable, "-m", "scripts.train_bert", *flags, *told, "--device", "cuda"]
        subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
        lines = (tmp_path / str(n) / "bert/farstail/full-s0/metrics.jsonl").open()
        figures.append([json.loads(text).get("loss") for text in lines][:-1])
    assert figures[0] == pytest.approx(figures[1], abs=1e-3)


def test_a_gpu_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="numbered from 0"):
        device.pick(f"cuda:{torch.cuda.device_count()}")
