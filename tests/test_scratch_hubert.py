"""Untrained speech encoders: sizes, loading, equal bytes, what is kept and what is refused."""

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, HubertConfig, HubertModel

from lib.errors import UserError
from lib.files import sha256
from lib.scratch_hubert import CONV, Options, encoder, make
from scripts import scratch_hubert

SMALL = Options(layers=2, width=32)


def n_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_base_size_has_the_parameters_of_hubert_base() -> None:
    with torch.device("meta"):
        ours = encoder(Options(layers=12, width=768, conv="base"))
        theirs = HubertModel(HubertConfig())
    assert n_parameters(ours) == n_parameters(theirs) == 94_371_712


@pytest.mark.parametrize(("conv", "n_samples"), [("base", 320), ("tiny", 640)])
def test_a_frame_is_20_or_40_ms(conv: str, n_samples: int) -> None:
    assert prod(CONV[conv]["conv_stride"]) == n_samples
    parts = ("conv_dim", "conv_kernel", "conv_stride")
    assert len({len(CONV[conv][part]) for part in parts}) == 1


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_folder_loads_with_every_weight_accounted_for(
    tmp_path: Path, kind: Literal["hubert", "wav2vec2"], pre_norm: bool
) -> None:
    options = replace(SMALL, kind=kind, pre_norm=pre_norm)
    make(tmp_path / "toy", options=options)
    model, seen = AutoModel.from_pretrained(tmp_path / "toy", output_loading_info=True)
    assert model.config.model_type == kind
    assert not any(seen[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    fresh = encoder(options)
    for name, weight in fresh.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name
    clip = AutoFeatureExtractor.from_pretrained(tmp_path / "toy")(
        torch.sin(torch.arange(16000) / 5).numpy(), sampling_rate=16000, return_tensors="pt"
    )
    hidden = model.eval()(clip["input_values"]).last_hidden_state
    assert hidden.shape[2] == 32
    assert 22 <= hidden.shape[1] <= 25  # 25 frames a second, less what the kernels need
    assert bool(hidden.isfinite().all())


def test_equal_seeds_give_equal_bytes_and_leave_the_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, _ = make(tmp_path / "a", options=SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    second, _ = make(tmp_path / "b", options=SMALL)
    other, _ = make(tmp_path / "c", options=replace(SMALL, seed=1))
    assert first == second
    assert other["files"]["model.safetensors"] != first["files"]["model.safetensors"]
    assert first["files"]["model.safetensors"] == sha256(tmp_path / "a" / "model.safetensors")


def test_a_folder_is_kept_or_replaced_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = scratch_hubert.Config(name="toy", layers=1, width=32, out=tmp_path)
    first = scratch_hubert.main(cfg)
    assert scratch_hubert.main(cfg) == first
    assert "unchanged" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"layers 1, not 2.*--force"):
        scratch_hubert.main(replace(cfg, layers=2))
    assert scratch_hubert.main(replace(cfg, layers=2, force=True))["options"]["layers"] == 2
    with (tmp_path / "toy" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="not what was made"):
        scratch_hubert.main(replace(cfg, layers=2))
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="something else"):
        scratch_hubert.main(replace(cfg, name="mine", force=True))


@pytest.mark.parametrize(
    "wrong", [{"layers": 0}, {"width": 66}, {"heads": 0}, {"heads": 5}, {"width": -64}]
)
def test_impossible_sizes_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="multiple of the heads"):
        scratch_hubert.main(scratch_hubert.Config(name="toy", out=tmp_path, **wrong))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden"])
def test_a_name_stays_below_the_models_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="name of a folder"):
        scratch_hubert.main(scratch_hubert.Config(name=name, out=tmp_path))
