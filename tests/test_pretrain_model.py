"""Losses of masked prediction against independent computations, masks and padding included."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lib import optim, scratch_bert, scratch_hubert
from lib.packed import Packed
from lib.predict import forward
from lib.pretrain import masks
from lib.pretrain.features import MFCC_FRAMES, Frames, frames_of
from lib.pretrain.masks import Spans
from lib.pretrain.models import MaskedSpeech, MaskedText, body_of, text_head
from lib.pretrain.speech import UnitSplit
from lib.pretrain.text import WordSplit
from lib.pretrain.units import Track
from lib.spec import read_encoder_config
from lib.speech import SpeechSplit
from lib.tokens import TokenSplit

LENGTHS = np.array([9000, 12345, 9000, 20000])
UNITS = (5, 7)


def speech_model(folder: Path, **options: Any) -> tuple[MaskedSpeech, dict[str, Any]]:
    scratch_hubert.make(folder, options=scratch_hubert.Options(layers=2, width=32, **options))
    encoder = read_encoder_config(folder)
    torch.manual_seed(0)
    return MaskedSpeech(body_of(folder, encoder), n_units=UNITS), encoder


def unit_split(folder: Path, frames: Frames, *, seen_share: float = 0.0) -> UnitSplit:
    """Four clips of noise with random units of two sets."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    rng.integers(-9000, 9000, LENGTHS.sum()).astype("<i2").tofile(folder / "audio-000.pcm")
    starts, zeros = np.cumsum(LENGTHS) - LENGTHS, np.zeros(4, np.int64)
    audio = Packed(folder=folder, shards=zeros, offsets=starts, lengths=LENGTHS)
    clips = SpeechSplit(
        name="all",
        sources=[audio],
        choices=np.stack([zeros, np.arange(4)], axis=1)[:, None],
        chosen=zeros,
        labels=zeros,
        ids=np.arange(4),
        groups=zeros,
    )
    counts = np.array([MFCC_FRAMES.count(n) for n in LENGTHS.tolist()])
    tracks = [
        Track(
            units=rng.integers(n_units, size=counts.sum()).astype(np.uint16),
            starts=np.cumsum(counts) - counts,
            n_samples=LENGTHS,
            frames=MFCC_FRAMES,
            n_units=n_units,
            name=str(n_units),
        )
        for n_units in UNITS
    ]
    return UnitSplit(
        source=clips,
        tracks=tracks,
        frames=frames,
        spans=Spans(length=3),
        seen_share=seen_share,
        drawn=(1, 2),
    )


def by_hand(
    model: MaskedSpeech, split: UnitSplit, row: int, hidden_states: torch.Tensor
) -> tuple[float, int]:
    """The sum of the loss over a clip's hidden frames and both sets, by loops; and how many."""
    n = split.frames.count(int(LENGTHS[row]))
    hidden = masks.frames(n, spans=split.spans, rng=masks.generator(*split.drawn, row))
    total = 0.0
    for project, units, track in zip(
        model.projections, model.embeddings, split.tracks, strict=True
    ):
        assert isinstance(project, nn.Linear)
        matrix, table = project.weight.detach().numpy(), units.detach().numpy()
        assert project.bias is not None
        for t in np.flatnonzero(hidden):
            centre = t * split.frames.hop + (split.frames.width - 1) / 2
            centres = np.arange(MFCC_FRAMES.count(int(LENGTHS[row]))) * 320 + 199.5
            target = int(track.units[track.starts[row] + np.abs(centres - centre).argmin()])
            made = matrix @ hidden_states[t].numpy() + project.bias.detach().numpy()
            cosines = table @ made / np.linalg.norm(table, axis=1) / np.linalg.norm(made)
            scores = np.exp(cosines / 0.1)
            total -= float(np.log(scores[target] / scores.sum()))
    return total, int(hidden.sum())


@pytest.mark.parametrize("options", [{}, {"conv": "base"}, {"pre_norm": True}])
def test_the_loss_of_masked_units_is_that_of_the_paper(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    model, encoder = speech_model(tmp_path / "toy", **options)
    split = unit_split(tmp_path / "audio", frames_of(encoder))
    model.eval()
    batch = split.collate(np.array([0, 1, 2, 3]))
    with torch.no_grad():
        ours = optim.cross_entropy()(forward(model, batch, dtype=None), batch["labels"])
        expected, n_hidden = 0.0, 0
        for row in range(4):  # each alone: the batch's padding must not matter
            n = split.frames.count(int(LENGTHS[row]))
            hidden = masks.frames(n, spans=split.spans, rng=masks.generator(1, 2, row))
            wave = torch.from_numpy(split.source.waveform(row))[None]
            theirs = model.body.encoder.train()  # transformers hides frames in training only
            theirs.config.update(
                dict.fromkeys(("hidden_dropout", "attention_dropout", "feat_proj_dropout"), 0.0)
            )
            for module in theirs.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
                for name in ("dropout_prob", "dropout"):
                    if isinstance(getattr(module, name, None), float):
                        setattr(module, name, 0.0)
            theirs.config.layerdrop = 0.0
            states = theirs(wave, mask_time_indices=torch.from_numpy(hidden)[None])
            of_row, n_of_row = by_hand(model, split, row, states.last_hidden_state[0])
            expected, n_hidden = expected + of_row, n_hidden + n_of_row
    assert len(batch["labels"]) == 2 * n_hidden
    assert float(ours) == pytest.approx(expected, rel=1e-4)


def test_frames_that_are_not_hidden_make_up_the_share_that_was_asked_for(tmp_path: Path) -> None:
    frames = frames_of(scratch_hubert.CONV["tiny"])
    split = unit_split(tmp_path / "audio", frames, seen_share=0.25)
    batch = split.collate(np.arange(4))
    heard = ~batch["hide"].flatten()[batch["positions"]]
    assert len(batch["positions"].unique()) == len(batch["positions"])
    assert float(heard.float().mean()) == pytest.approx(0.25, abs=0.04)
    every = unit_split(tmp_path / "audio", frames, seen_share=1.0).collate(np.arange(4))
    assert len(every["positions"]) == sum(frames.count(n) for n in LENGTHS.tolist())


def test_a_rows_mask_is_the_same_in_any_batch_and_another_in_the_next_epoch(
    tmp_path: Path,
) -> None:
    split = unit_split(tmp_path / "audio", frames_of(scratch_hubert.CONV["tiny"]))

    def hidden(epoch: int, rows: list[int]) -> torch.Tensor:
        found = split.epoch(seed=3, epoch=epoch).collate(np.array(rows))["hide"]
        return found[rows.index(1)][: split.frames.count(int(LENGTHS[1]))]

    assert torch.equal(hidden(0, [1]), hidden(0, [3, 1, 0]))
    assert not torch.equal(hidden(0, [1]), hidden(1, [1]))


def test_hidden_frames_leave_no_trace_but_through_the_others(tmp_path: Path) -> None:
    model, encoder = speech_model(tmp_path / "toy")
    split = unit_split(tmp_path / "audio", frames_of(encoder))
    model.eval()
    batch = split.collate(np.array([0]))
    everything = dict(batch) | {"hide": torch.ones_like(batch["hide"])}
    changed = dict(everything) | {"input_values": torch.randn_like(batch["input_values"])}
    with torch.no_grad():
        assert torch.equal(
            forward(model, everything, dtype=None), forward(model, changed, dtype=None)
        )


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "toy"
    options = scratch_bert.Options(layers=2, width=32, vocab=120, positions=64)
    scratch_bert.make(folder, ["ab cd efg hij ab cdefg"] * 3, trained_on="x", options=options)
    return folder


def word_split(n_tokens: int) -> WordSplit:
    rng = np.random.default_rng(0)
    lengths = np.array([12, 7, 20])
    special, continues = np.arange(n_tokens) < 5, np.arange(n_tokens) % 3 == 0
    texts = TokenSplit(
        name="train",
        tokens=rng.integers(5, n_tokens, lengths.sum()),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        second=lengths - 3,
        labels=np.zeros(3, np.int64),
        ids=np.arange(3),
        groups=np.arange(3),
    )
    how = masks.Words(share=0.3, mask_id=4, special=special, continues=continues & ~special)
    return WordSplit(source=texts, how=how)


def test_the_loss_of_masked_words_is_that_of_transformers(text_folder: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    encoder = read_encoder_config(text_folder)
    torch.manual_seed(0)
    model = MaskedText(body_of(text_folder, encoder)).eval()
    nn.init.normal_(model.bias)
    theirs = BertForMaskedLM(BertConfig(**encoder)).eval()
    weights = {f"bert.{k}": v for k, v in model.body.encoder.state_dict().items()} | model.head()
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    theirs.cls.predictions.decoder.bias.data = model.bias.data  # tied
    split = word_split(encoder["vocab_size"])
    batch = split.collate(np.arange(3))
    labels = torch.full(batch["input_ids"].shape, -100).flatten()
    labels[batch["positions"]] = batch["labels"]
    kept = ("input_ids", "token_type_ids", "attention_mask")
    with torch.no_grad():
        ours = optim.cross_entropy()(forward(model, batch, dtype=None), batch["labels"])
        expected = theirs(
            **{name: batch[name] for name in kept}, labels=labels.view(batch["input_ids"].shape)
        ).loss
    assert float(ours) / len(batch["labels"]) == pytest.approx(float(expected), rel=1e-5)
    original = split.source.collate(np.arange(3))["input_ids"]
    assert torch.equal(original.flatten()[batch["positions"]], batch["labels"])
    elsewhere = torch.ones(original.numel(), dtype=torch.bool)
    elsewhere[batch["positions"]] = False
    assert torch.equal(original.flatten()[elsewhere], batch["input_ids"].flatten()[elsewhere])


def test_a_checkpoints_own_head_is_gone_on_with(tmp_path: Path, text_folder: Path) -> None:
    from lib.pretrain import output as pretrain

    encoder = read_encoder_config(text_folder)
    width, n_tokens = encoder["hidden_size"], encoder["vocab_size"]
    assert text_head(text_folder, width=width, n_tokens=n_tokens) is None
    torch.manual_seed(0)
    model = MaskedText(body_of(text_folder, encoder))
    nn.init.normal_(model.bias)
    pretrain.save(tmp_path / "next", model, start=text_folder, record={})
    head = text_head(tmp_path / "next", width=width, n_tokens=n_tokens)
    again = MaskedText(body_of(tmp_path / "next", encoder), head=head)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_what_is_saved_loads_as_any_other_model(tmp_path: Path) -> None:
    from transformers import AutoModel

    from lib.encoders import load_encoder
    from lib.pretrain import output as pretrain

    model, encoder = speech_model(tmp_path / "toy")
    pretrain.save(tmp_path / "next", model, start=tmp_path / "toy", record={})
    assert read_encoder_config(tmp_path / "next") == encoder
    for loaded in (load_encoder(tmp_path / "next"), AutoModel.from_pretrained(tmp_path / "next")):
        for name, value in model.body.encoder.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[name]), name


def test_every_parameter_learns_in_every_step(tmp_path: Path) -> None:
    model, encoder = speech_model(tmp_path / "toy")
    split = unit_split(tmp_path / "audio", frames_of(encoder))
    batch = split.collate(np.array([0]))
    optim.cross_entropy()(forward(model, batch, dtype=None), batch["labels"]).backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, "several processes wait for each of them"
