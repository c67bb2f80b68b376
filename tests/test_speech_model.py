"""HuBERT, wav2vec 2.0 and WavLM, post- and pre-norm: the same promises as for text."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lib import families, files, heads, surgery
from lib.errors import UserError
from lib.models import Classifier
from lib.spec import Spec, read_encoder_config

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 4, 4),
    "conv_stride": (5, 4, 4),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
PRE_NORM = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
KINDS = {
    "hubert": ("Hubert", {}),
    "hubert, pre-norm": ("Hubert", PRE_NORM),
    "wav2vec2": ("Wav2Vec2", {}),
    "wav2vec2, pre-norm": ("Wav2Vec2", PRE_NORM),
    "wavlm": ("WavLM", {}),
    "wavlm, pre-norm": ("WavLM", PRE_NORM),
}
REMOVABLE = [kind for kind in KINDS if "wavlm" not in kind]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import transformers

    found = {}
    for kind, (name, options) in KINDS.items():
        torch.manual_seed(1)
        config = getattr(transformers, f"{name}Config")(**SMALL, **options)
        found[kind] = tmp_path_factory.mktemp("speech")
        getattr(transformers, f"{name}Model")(config).save_pretrained(found[kind])
    return found


def spec_of(folder: Path, **change: Any) -> Spec:
    labels = ("A", "N", "S")
    return replace(
        Spec(encoder=read_encoder_config(folder), labels=labels, pooling="mean", head="mlp"),
        **change,
    )


def build(folder: Path, **change: Any) -> Classifier:
    torch.manual_seed(0)
    return surgery.build(spec_of(folder, **change), model=folder).eval()


def clips() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    found = [torch.randn(n, generator=generator) for n in (4000, 2500, 1200)]
    return [(clip - clip.mean()) / clip.std() for clip in found]


def batch() -> dict[str, torch.Tensor]:
    parts = clips()
    waveforms = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    lengths = torch.tensor([len(part) for part in parts])
    mask = torch.arange(waveforms.shape[1]) < lengths[:, None]
    return {"input_values": waveforms, "attention_mask": mask.long()}


@pytest.mark.parametrize("pooling", ["mean", "max", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clips_logits_are_the_same_alone_and_in_any_batch(
    folders: dict[str, Path], kind: str, pooling: str
) -> None:
    classifier = build(folders[kind], pooling=pooling)
    with torch.no_grad():
        together = classifier(**batch())
        for row, clip in enumerate(clips()):
            alone = classifier(input_values=clip[None])
            assert torch.allclose(together[row], alone[0], atol=1e-5)
        unmasked = classifier(input_values=batch()["input_values"])
    assert not torch.allclose(together[2], unmasked[2], atol=1e-3), "padding would change it"


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_equal_the_librarys(folders: dict[str, Path], kind: str) -> None:
    classifier = build(folders[kind])
    waveform = clips()[0][None]
    whole = classifier.encoder(waveform, output_hidden_states=True)
    with torch.no_grad():
        ours = classifier(input_values=waveform)
        theirs = classifier.head(whole.last_hidden_state.mean(1))
    assert torch.allclose(ours, theirs, atol=1e-5)
    if "pre-norm" in kind:
        return  # the library's hidden states there lack the final norm that a truncated one has
    for kept in (1, 2):
        for change in ({"keep_layers": kept}, {"read_layers": kept}):
            cut = build(folders[kind], **change)
            with torch.no_grad():
                found = cut(input_values=waveform)
            expected = cut.head(whole.hidden_states[kept].mean(1))
            assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("layer", range(3))
@pytest.mark.parametrize("kind", REMOVABLE)
def test_removing_a_head_equals_masking_it(
    folders: dict[str, Path], kind: str, layer: int, tmp_path: Path
) -> None:
    for head in range(4):
        classifier = build(folders[kind])
        gates = [torch.ones(4) for _ in range(3)]
        gates[layer][head] = 0
        with torch.no_grad():
            whole = classifier(**batch())
            with heads.gated(classifier, gates):
                masked = classifier(**batch())
            surgery.remove_heads(classifier, [(layer, head)])
            removed = classifier(**batch())
        assert torch.allclose(removed, masked, atol=1e-6)
        assert not torch.allclose(removed, whole, atol=1e-6)
    kept = {layer: tuple(classifier.kept_heads[layer])}
    spec = spec_of(folders[kind], heads=kept)
    surgery.save(tmp_path / "best", classifier, spec, record={})
    with torch.no_grad():
        loaded = surgery.build(spec, best=tmp_path / "best").eval()
        assert torch.equal(loaded(**batch()), removed)


def test_wavlm_refuses_to_lose_heads_in_one_line(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="cannot be removed"):
        build(folders["wavlm"], heads={0: (1, 2)})


@pytest.mark.parametrize(
    "change",
    [
        {"frozen_features": True},
        {"frozen_embeddings": True},
        {"frozen_embeddings": True, "frozen_layers": (0, 1)},
    ],
)
@pytest.mark.parametrize("kind", ["hubert", "hubert, pre-norm", "wav2vec2"])
def test_logits_from_what_is_computed_ahead_equal_those_without(
    folders: dict[str, Path], kind: str, change: dict[str, Any]
) -> None:
    classifier = build(folders[kind], **change).train()
    ahead = classifier.prefix(**batch())
    assert ("hidden" in ahead) == ("frozen_embeddings" in change)
    torch.manual_seed(5)
    cached = classifier(**ahead)
    torch.manual_seed(5)
    assert torch.equal(cached, classifier(**batch()))


def test_what_cannot_be_computed_ahead_is_not(folders: dict[str, Path]) -> None:
    everything = {"frozen_embeddings": True, "frozen_layers": (0, 1)}
    weighted = build(folders["hubert"], pooling="weighted", **everything)
    assert weighted.prefix_layers is None
    masked = build(folders["hubert"], mask_time=0.1, **everything)
    assert masked.prefix_layers is None
    assert build(folders["wavlm"], **everything).prefix_layers is None
    with pytest.raises(ValueError, match="no frozen prefix"):
        build(folders["hubert"]).prefix(**batch())


def test_frames_are_not_hidden_from_an_encoder_that_has_no_filler(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "hubert"
    shutil.copytree(folders["hubert"], folder)
    config = files.read_json(folder / "config.json") | {"mask_time_prob": 0, "mask_feature_prob": 0}
    files.write_json(folder / "config.json", config)
    assert build(folder, mask_time=0.0).mask_time == 0
    with pytest.raises(UserError, match=r"no masked_spec_embed .* give --mask-time 0"):
        build(folder, mask_time=0.1)


def test_frozen_convolutions_stay_and_the_rest_learns(folders: dict[str, Path]) -> None:
    classifier = build(folders["hubert"], frozen_features=True).train()
    classifier(**batch()).sum().backward()
    for name, parameter in classifier.named_parameters():
        frozen = "feature_extractor" in name or "masked_spec_embed" in name
        assert (parameter.grad is None) == frozen, name


def test_layerdrop_and_specaugment_act_in_training_only_and_follow_torchs_seed(
    folders: dict[str, Path],
) -> None:
    quiet = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    for change in ({"layerdrop": 0.5}, {"mask_time": 0.3}):
        classifier = build(folders["hubert"], dropout=0.0, **change)
        for module in classifier.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            for name in quiet:
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0  # type: ignore[assignment]
        plain = classifier(**batch())
        assert torch.equal(plain, classifier(**batch()))
        classifier.train()
        drawn = []
        for seed in (1, 1, 2, 3, 4):
            torch.manual_seed(seed)
            drawn.append(classifier(**batch()))
        assert torch.equal(drawn[0], drawn[1])
        assert any(not torch.allclose(drawn[0], other, atol=1e-6) for other in drawn[2:])


def test_spans_are_hidden_within_each_clips_own_frames() -> None:
    torch.manual_seed(0)
    hidden = torch.zeros(3, 60, 2)
    mask = torch.arange(60) < torch.tensor([60, 30, 7])[:, None]
    hide = families.hide_spans(hidden, mask, torch.ones(2), share=0.5)[:, :, 0].bool()
    assert not (hide & ~mask).any()
    assert not hide[2].any(), "shorter than a span"
    assert 20 <= int(hide[0].sum()) <= 40
    assert 10 <= int(hide[1].sum()) <= 20
    for row in hide.int():  # whole spans: what is hidden comes in runs of 10 frames and more
        edges = torch.cat([torch.zeros(1), row, torch.zeros(1)]).diff().nonzero().flatten()
        assert (edges[1::2] - edges[::2] >= 10).all()


def test_spans_begin_everywhere_alike_and_hide_their_share() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([100, 55]).repeat(2000)
    mask = torch.arange(100) < lengths[:, None]
    hidden = torch.zeros(4000, 100, 1)
    found = families.hide_spans(hidden, mask, torch.ones(1), share=0.1, min_spans=0)[:, :, 0]
    for row, n in ((0, 100), (1, 55)):
        hide = found[row::2, :n]
        assert hide.mean() == pytest.approx(0.1, abs=0.01)
        inner = hide[:, 9 : n - 9].mean(0)  # frames that ten starts can hide
        assert float(inner.max() - inner.min()) < 0.06


def test_masked_group_norm_equals_the_plain_one_on_each_clip() -> None:
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(4, 4)
    torch.nn.init.normal_(norm.weight)
    hidden, n_frames = torch.randn(3, 4, 20) + 5, torch.tensor([20, 11, 2])
    found = families.masked_group_norm(norm, hidden, n_frames)
    for row, n in enumerate(n_frames):
        expected = norm(hidden[row : row + 1, :, :n])
        assert torch.allclose(found[row : row + 1, :, :n], expected, atol=1e-5)


@pytest.mark.parametrize("option", ["conv_pos_batch_norm", "add_adapter"])
def test_an_encoder_that_is_not_supported_is_one_line(option: str) -> None:
    with pytest.raises(UserError, match=option):
        families.family_of({"model_type": "hubert", option: True})
    with pytest.raises(UserError, match="'gpt2' is not supported"):
        families.family_of({"model_type": "gpt2"})
