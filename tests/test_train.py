import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib import checkpoints, fit, optim, predict, runs, surgery, train
from lib.corpus import Corpus
from lib.course import Course, course
from lib.errors import UserError
from lib.options import Training
from lib.spec import Spec
from tests.conftest import ToySplit, toy_split, without_dropout

OPTIONS = Training(epochs=2, batch_size=4, learning_rate=1e-3, eval_every=5, pool=3)


def toy_corpus() -> Corpus:
    splits = {"train": toy_split(30), "validation": toy_split(12, seed=1)}
    return Corpus("toy", ("low", "high"), splits, False, None, "", None)


def records(
    state: train.State, options: Training, split: ToySplit | None = None, *, budget: int = 0
) -> Iterator[train.Record]:
    return train.steps(
        state,
        split or toy_split(30),
        options,
        loss_fn=optim.cross_entropy(),
        validate=partial(
            predict.validate, state.model, toy_split(12, seed=1), class_names=("low", "high")
        ),
        budget=budget,
    )


def losses(
    spec: Spec,
    model: Path,
    options: Training,
    split: ToySplit | None = None,
    budget: int = 0,
) -> list[float]:
    torch.manual_seed(options.seed)
    classifier = surgery.build(spec, model=model)
    split = split or toy_split(30)
    state = train.begin(classifier, options, course(options, split).total)
    found = records(state, options, split, budget=budget)
    return [record["loss"] for record in found if record["event"] == "step"]


def run(
    folder: Path,
    spec: Spec,
    model: Path,
    options: Training,
    stop: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    config = runs.configuration(script="test", options={}, inputs={"data": ""}, device="cpu")
    records = []
    with runs.opened(folder, config, resume=folder.exists()) as opened:
        device = torch.device("cpu")
        try:
            for record in fit.fit(
                opened, toy_corpus(), spec, options, model=model, device=device, stop=stop
            ):
                records.append(record)
        except fit.Stopped:
            records.append({"event": "stopped"})
    return records


def results(folder: Path) -> dict[str, bytes]:
    names = ("metrics.jsonl", "best/model.safetensors", "best/model.json")
    return {name: (folder / name).read_bytes() for name in names}


def test_micro_batches_add_up_to_one_batch(toy_spec: Spec, toy_model: Path) -> None:
    # SGD without dropout: a gradient that is off by a factor shows in the very next loss.
    spec = replace(
        toy_spec,
        dropout=0.0,
        encoder=toy_spec.encoder
        | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )
    folder = without_dropout(toy_model)
    sgd = replace(OPTIONS, optimizer="sgd", learning_rate=0.05, pool=1, epochs=3)
    whole = losses(spec, folder, replace(sgd, batch_size=6))
    parts = losses(spec, folder, replace(sgd, batch_size=2, accumulation=3))
    uneven = losses(spec, folder, replace(sgd, batch_size=1, accumulation=6))
    assert len(whole) == 15
    assert whole == pytest.approx(parts, abs=1e-5)
    assert whole == pytest.approx(uneven, abs=1e-5)


def test_steps_bucketed_by_length_learn_what_their_rows_teach_in_one_padded_batch(
    toy_spec: Spec, toy_model: Path
) -> None:
    # Each step's 6 rows: dealt by length to 3 micro-batches of little padding, or all in one.
    folder = without_dropout(toy_model)
    spec = replace(toy_spec, dropout=0.0)
    sgd = replace(OPTIONS, optimizer="sgd", learning_rate=0.05, epochs=4, pool=5, eval_every=0)
    bucketed = losses(spec, folder, replace(sgd, batch_size=2, accumulation=3))
    together = losses(spec, folder, replace(sgd, batch_size=6))
    in_passes = losses(spec, folder, replace(sgd, batch_size=6), budget=20)  # as on the CPU
    assert len(bucketed) == 20
    # Padding and the order of sums change the last bits: 1e-7 of a loss near 0.7 at each step.
    assert bucketed == pytest.approx(together, abs=1e-5)
    assert in_passes == pytest.approx(together, abs=1e-5)
    assert in_passes != together, "no step was cut"
    assert max(bucketed) - min(bucketed) > 0.05, "losses that do not move would agree anyway"


def test_no_gradient_is_left_over_from_the_step_before(toy_spec: Spec, toy_model: Path) -> None:
    folder = without_dropout(toy_model)
    spec = replace(toy_spec, dropout=0.0)
    split = toy_split(8)
    options = replace(
        OPTIONS,
        optimizer="sgd",
        learning_rate=0.1,
        batch_size=8,
        warmup=0,
        decay="constant",
        weight_decay=0,
        max_grad_norm=1e9,
        epochs=4,
    )
    torch.manual_seed(0)
    by_hand = surgery.build(spec, model=folder)
    expected = []
    batch = split.collate(split.ids)
    labels, _ = batch.pop("labels"), batch.pop("ids")
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(by_hand(**batch), labels)
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        expected.append(loss.item())
        with torch.no_grad():
            for parameter, gradient in zip(by_hand.parameters(), gradients, strict=True):
                parameter.sub_(0.1 * gradient)
    assert losses(spec, folder, options, split) == pytest.approx(expected, abs=1e-5)


def test_eight_examples_can_be_overfitted(toy_spec: Spec, toy_model: Path) -> None:
    options = replace(OPTIONS, epochs=40, batch_size=8, learning_rate=5e-3)
    assert losses(toy_spec, toy_model, options, toy_split(8))[-1] < 0.1


@pytest.mark.parametrize(
    "frozen",
    [
        {"frozen_embeddings": True, "frozen_layers": (0, 1)},
        {"frozen_layers": (0, 1)},
        {"frozen_embeddings": True, "frozen_layers": (0, 2)},
    ],
)
def test_frozen_weights_are_bit_identical_afterwards_and_others_move(
    toy_spec: Spec, toy_model: Path, frozen: dict[str, Any]
) -> None:
    spec = replace(toy_spec, **frozen)
    classifier = surgery.build(spec, model=toy_model)
    before = {name: p.detach().clone() for name, p in classifier.named_parameters()}
    state = train.begin(classifier, OPTIONS, 16)
    for _ in train.steps(
        state,
        toy_split(30),
        OPTIONS,
        loss_fn=optim.cross_entropy(),
        validate=partial(predict.validate, state.model, toy_split(6), class_names=("low", "high")),
    ):
        pass
    for name, parameter in classifier.named_parameters():
        if "attention.self.key.bias" in name:
            continue  # softmax does not feel a shift of all its scores: it has no gradient
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


@pytest.mark.parametrize("after", [1, 4, 5, 9, 15])
def test_interrupted_and_resumed_equals_uninterrupted(
    toy_spec: Spec, toy_model: Path, tmp_path: Path, after: int
) -> None:
    options = replace(OPTIONS, batch_size=2, accumulation=2)
    run(tmp_path / "whole", toy_spec, toy_model, options)
    countdown = iter([False] * (after - 1) + [True])
    first = run(tmp_path / "parts", toy_spec, toy_model, options, lambda: next(countdown))
    assert first[-1]["event"] == "stopped"
    assert not runs.is_trained(tmp_path / "parts")
    run(tmp_path / "parts", toy_spec, toy_model, options)
    assert results(tmp_path / "parts") == results(tmp_path / "whole")
    assert not list((tmp_path / "parts" / "checkpoints").glob("step-*")), "a run's end clears up"


def test_resuming_passes_over_a_damaged_checkpoint(
    toy_spec: Spec, toy_model: Path, tmp_path: Path
) -> None:
    run(tmp_path / "whole", toy_spec, toy_model, OPTIONS)
    countdown = iter([False] * 6 + [True])
    run(tmp_path / "parts", toy_spec, toy_model, OPTIONS, lambda: next(countdown))
    kept = tmp_path / "parts/checkpoints"
    before, last = sorted(kept.glob("step-*"), key=lambda path: int(path.name[5:]))
    tensors = bytearray((last / "tensors.safetensors").read_bytes())
    tensors[-1] ^= 1
    (last / "tensors.safetensors").write_bytes(tensors)
    (kept / "step-99").mkdir()  # newer, and torn
    (kept / "step-99" / "state.json").write_text("{")
    found = checkpoints.newest(kept)
    assert found is not None
    assert found[1]["step"] == int(before.name[5:])
    assert ["step-99" in found[2][0], last.name in found[2][1]] == [True, True]
    run(tmp_path / "parts", toy_spec, toy_model, OPTIONS)
    assert results(tmp_path / "parts") == results(tmp_path / "whole")
    weights = bytearray((tmp_path / "whole/best/model.safetensors").read_bytes())
    checkpoints.save(tmp_path / "x", 1, {"a": torch.ones(9)}, {})
    (tmp_path / "x/step-1/tensors.safetensors").write_bytes(weights[:-1])
    with pytest.raises(UserError, match="no checkpoint is whole"):
        checkpoints.newest(tmp_path / "x")


def test_two_runs_of_one_command_give_equal_bytes(
    toy_spec: Spec, toy_model: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        run(tmp_path / name, toy_spec, toy_model, OPTIONS)
    assert results(tmp_path / "one") == results(tmp_path / "two")


@pytest.mark.parametrize("select", ["best", "last"])
def test_the_selected_weights_are_those_of_the_named_step(
    toy_spec: Spec, toy_model: Path, tmp_path: Path, select: Any
) -> None:
    options = replace(OPTIONS, select=select, epochs=6, learning_rate=5e-3)
    records = run(tmp_path / "run", toy_spec, toy_model, options)
    validations = [record for record in records if record["event"] == "validation"]
    scores = [record["macro_f1"] for record in validations]
    best = validations[int(np.argmax(scores))]  # the first of equals
    chosen = best if select == "best" else validations[-1]
    assert records[-1]["selected_step"] == chosen["step"]
    assert best["step"] != validations[-1]["step"], "the two must differ for this to show anything"
    saved = surgery.build(toy_spec, best=tmp_path / "run" / "best")
    split = toy_corpus().splits["validation"]
    logits = predict.predict(saved, split)
    assert predict.mean_loss(logits, split.labels) == pytest.approx(chosen["loss"], abs=1e-6)


def test_patience_ends_a_run_that_gets_no_better(
    toy_spec: Spec, toy_model: Path, tmp_path: Path
) -> None:
    options = replace(OPTIONS, epochs=50, patience=2, learning_rate=1e-9)
    records = run(tmp_path / "run", toy_spec, toy_model, options)
    validations = [record for record in records if record["event"] == "validation"]
    assert [record["better"] for record in validations] == [True, False, False]


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_rows(
    toy_spec: Spec, toy_model: Path
) -> None:
    classifier = surgery.build(toy_spec, model=toy_model)
    before = {name: p.detach().clone() for name, p in classifier.named_parameters()}
    state = train.begin(classifier, OPTIONS, 16)

    def broken(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return logits.sum() * torch.nan

    loop: Iterator[Any] = train.steps(
        state,
        toy_split(30),
        OPTIONS,
        loss_fn=broken,
        validate=partial(predict.validate, state.model, toy_split(6), class_names=("low", "high")),
    )
    with pytest.raises(UserError, match=r"loss is nan at step 1 \(training rows \d+, "):
        next(loop)
    assert all(torch.equal(p, before[name]) for name, p in classifier.named_parameters())


def test_epochs_of_unequal_size_end_where_they_end() -> None:
    whole = Course((5, 4, 3), 11)
    assert [step for step in range(1, 12) if whole.ends_epoch(step)] == [5, 9, 11]
    assert whole.place(5) == (1, 0)
    assert whole.epochs(7) == 1.5


def test_class_weights_count_each_class_equally() -> None:
    weights = optim.balanced_weights(np.array([0, 0, 0, 1]), 3)
    assert weights.tolist() == pytest.approx([4 / 6, 2, 0])


def test_the_schedule_rises_and_falls_to_zero() -> None:
    rate = optim.schedule(2.0, n_steps=10, warmup=0.2, decay="linear")
    rates = [rate(step) for step in range(10)]
    assert rates == pytest.approx(
        [2 / 3, 4 / 3, 2, 7 / 4, 6 / 4, 5 / 4, 4 / 4, 3 / 4, 2 / 4, 1 / 4]
    )
    assert rate(10) == 0
    assert optim.schedule(2.0, n_steps=10, warmup=0.2, decay="constant")(9) == 2


def test_predictions_stay_in_row_order(toy_spec: Spec, toy_model: Path) -> None:
    classifier = surgery.build(toy_spec, model=toy_model).eval()
    split = toy_split(25)
    together = predict.predict(classifier, split, budget=60)
    with torch.no_grad():
        for row in split.ids:
            alone = classifier(input_ids=split.collate(split.ids[row : row + 1])["input_ids"])
            assert np.allclose(together[row], alone[0].numpy(), atol=1e-5)


def test_mixed_precision_on_the_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="needs a GPU"):
        predict.precision("bf16", torch.device("cpu"))
    assert predict.precision("auto", torch.device("cpu")) is None


def test_a_checkpoint_holds_everything_that_changes(toy_spec: Spec, toy_model: Path) -> None:
    torch.manual_seed(0)
    state = train.begin(surgery.build(toy_spec, model=toy_model), OPTIONS, 16)
    loop = records(state, OPTIONS)
    for _ in range(3):
        next(loop)
    tensors = {name: value.clone() for name, value in state.tensors().items()}
    numbers = json.loads(json.dumps(state.numbers()))
    torch.manual_seed(7)
    fresh = train.begin(surgery.build(toy_spec, model=toy_model), OPTIONS, 16)
    fresh.restore(tensors, numbers)
    assert json.loads(json.dumps(fresh.numbers())) == numbers
    assert fresh.tensors().keys() == tensors.keys()
    assert all(torch.equal(fresh.tensors()[name], value) for name, value in tensors.items())


def test_each_step_learns_at_the_rate_of_its_place(toy_spec: Spec, toy_model: Path) -> None:
    options = replace(OPTIONS, optimizer="sgd", warmup=0.5, max_grad_norm=1e9)
    state = train.begin(surgery.build(toy_spec, model=toy_model), options, 16)
    loop = records(state, options)
    bias = [*state.model.parameters()][-1]
    for step in range(4):
        before = bias.detach().clone()
        gradients: list[torch.Tensor] = []
        hook = bias.register_hook(gradients.append)
        next(loop)
        hook.remove()
        rate = 1e-3 * (step + 1) / 9
        assert torch.allclose(before - bias, rate * gradients[0], atol=1e-9)


def test_a_checkpoint_that_lacks_a_part_of_the_optimizers_state_is_refused(
    tmp_path: Path, toy_spec: Spec, toy_model: Path
) -> None:
    stops = iter([False] * 5 + [True])
    run(tmp_path / "run", toy_spec, toy_model, OPTIONS, stop=lambda: next(stops))
    found = checkpoints.newest(tmp_path / "run/checkpoints")
    assert found is not None
    tensors, state, _ = found
    lacking = next(name for name in tensors if name.endswith(".exp_avg"))
    less = {name: value for name, value in tensors.items() if name != lacking}
    checkpoints.save(tmp_path / "run/checkpoints", state["step"], less, state)
    with pytest.raises(UserError, match=r"does not fit this run .* optimizer's state lacks"):
        run(tmp_path / "run", toy_spec, toy_model, OPTIONS)
