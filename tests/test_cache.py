"""The cache of a frozen prefix: the same training with it as without, and one store for all."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch

from lib import cache, cache_store, fit, optim, predict, runs, speech, surgery, tokens, train
from lib.cache import Caching, Mode
from lib.cache_split import CachedSplit, Rows
from lib.corpus import Corpus
from lib.course import course
from lib.errors import UserError
from lib.loader import Split
from lib.models import Classifier, parameters
from lib.options import Training
from lib.spec import Spec, read_encoder_config
from lib.tokens import TokenSplit
from scripts import extract_features
from tests.conftest import VOCABULARY, pack
from tests.test_speech_model import SMALL
from tests.test_tokens import bert, many, prepared

LABELS = ("A", "N", "S")
EVERY_LAYER: dict[str, Any] = {
    "frozen_embeddings": True,
    "frozen_layers": (0, 1, 2),
    "pooling": "cls",
}
FIRST_TWO: dict[str, Any] = {"frozen_embeddings": True, "frozen_layers": (0, 1)}
CONVOLUTIONS: dict[str, Any] = {"frozen_features": True, "mask_time": 0.2}
OPTIONS = Training(
    epochs=3, batch_size=4, accumulation=2, optimizer="sgd", learning_rate=0.3, pool=2, seed=3
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of 30 clips of 0.2 to 0.3 s by ten speakers."""
    folder = tmp_path_factory.mktemp("data") / "clips"
    generator = np.random.default_rng(0)
    lengths = generator.integers(3200, 4800, 30)
    waves = [(3000 * generator.standard_normal(n)).astype(np.int16) for n in lengths]
    rows = pd.DataFrame({"path": [f"{i:02}.wav" for i in range(30)]})
    rows["speaker"] = [f"s{i // 3}" for i in range(30)]
    rows["label_filename"] = [LABELS[i % 3] for i in range(30)]
    rows["label_transcript"] = [LABELS[0 if i == 4 else i % 3] for i in range(30)]
    rows["gender"] = "F"
    return pack(folder, waves, rows, labels=LABELS)


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import HubertConfig, HubertModel

    folder = tmp_path_factory.mktemp("hubert")
    torch.manual_seed(1)
    HubertModel(HubertConfig(**SMALL)).save_pretrained(folder)
    return folder


def speech_splits(clips: Path, **options: Any) -> dict[str, Split]:
    chosen: dict[str, Any] = {"labels": "filename", "split": "speaker", "fold": 1, "emobox": None}
    chosen |= {"augment": "none", "mask": True, "max_seconds": 0, "limit": None}
    found = speech.load(clips, chosen | options)
    return {name: found[name] for name in ("train", "validation")}


def text_split(n: int, *, seed: int, longest: int = 20) -> TokenSplit:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(4, longest, n)
    starts = np.cumsum(lengths) - lengths
    return TokenSplit(
        name="toy",
        tokens=generator.integers(1, VOCABULARY, lengths.sum()),
        starts=starts,
        lengths=lengths,
        second=lengths // 2,
        labels=generator.integers(0, 3, n),
        ids=np.arange(n),
        groups=np.arange(n),
    )


def text_splits(**options: Any) -> dict[str, Split]:
    return {
        "train": text_split(30, seed=0, **options),
        "validation": text_split(12, seed=1, **options),
    }


def build(model: Path, **change: Any) -> Classifier:
    how = {"pooling": "mean"} | change
    spec = Spec(encoder=read_encoder_config(model), labels=LABELS, **how)
    torch.manual_seed(0)
    return surgery.build(spec, model=model)


def survey(classifier: Classifier, splits: Mapping[str, Split]) -> list[Path]:
    rows = cast(Mapping[str, Rows], splits)
    return [job.folder for job in cache.survey(classifier, rows, root=Path(), dtype=None)[0]]


def use(
    classifier: Classifier,
    splits: Mapping[str, Split],
    root: Path,
    mode: Mode = "on",
    epochs: float = 3,
) -> tuple[Mapping[str, Split], str | None]:
    caching = Caching(mode=mode, folder=root)
    return cache.use(classifier, splits, caching, dtype=None, epochs=epochs)


def losses(classifier: Classifier, splits: Mapping[str, Split]) -> list[float]:
    """The loss of each step, 20 at the least, and of each validation."""
    options = replace(OPTIONS, epochs=7)
    state = train.begin(classifier, options, course(options, splits["train"]).total)
    assert course(options, splits["train"]).total >= 20
    records = train.steps(
        state,
        splits["train"],
        options,
        loss_fn=optim.cross_entropy(),
        validate=partial(predict.validate, state.model, splits["validation"], class_names=LABELS),
    )
    return [record["loss"] for record in records]


@pytest.mark.parametrize(
    ("modality", "change", "options"),
    [
        ("text", FIRST_TWO, {}),
        ("text", EVERY_LAYER, {}),
        ("speech", CONVOLUTIONS, {"augment": "default"}),
        ("speech", FIRST_TWO, {"augment": "default", "max_seconds": 0.25}),
        ("speech", FIRST_TWO, {}),
    ],
)
def test_training_from_the_cache_gives_the_same_losses_and_runs_no_frozen_part(
    toy_model: Path,
    hubert: Path,
    clips: Path,
    tmp_path: Path,
    modality: str,
    change: dict[str, Any],
    options: dict[str, Any],
) -> None:
    model = toy_model if modality == "text" else hubert
    splits = text_splits() if modality == "text" else speech_splits(clips, **options)
    expected = losses(build(model, **change), splits)

    classifier = build(model, **change)
    cached, told = use(classifier, splits, tmp_path)
    assert "reading the output of the f" in str(told)
    with torch.no_grad():
        for parameter in parameters(classifier.frozen):
            parameter.fill_(torch.nan)
    # Stored rows meet other neighbours, and so other sums: the last bits of a loss near 1.
    assert losses(classifier, cached) == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.05, "losses that do not move would agree anyway"


def test_logits_of_each_row_are_those_without_the_cache(
    toy_model: Path, hubert: Path, clips: Path, tmp_path: Path
) -> None:
    for model, splits in ((toy_model, text_splits()), (hubert, speech_splits(clips))):
        classifier = build(model, **FIRST_TWO)
        cached, _ = use(classifier, splits, tmp_path)
        for name, split in splits.items():
            found = predict.predict(classifier, cached[name], budget=3 * int(split.lengths.max()))
            expected = predict.predict(classifier, split)
            assert found == pytest.approx(expected, abs=1e-5)
            assert np.ptp(expected, axis=0).min() > 1e-3, "equal rows would hide a wrong order"


def test_half_precision_is_stored_bit_by_bit(hubert: Path, clips: Path, tmp_path: Path) -> None:
    # The features of mixed precision are bfloat16, which numpy does not have.
    classifier, splits = build(hubert, **CONVOLUTIONS), speech_splits(clips)
    ways: dict[str, Any] = {"dtype": torch.bfloat16, "epochs": 3}
    cached, _ = cache.use(classifier, splits, Caching(mode="on", folder=tmp_path), **ways)
    row = np.array([5])
    found = cached["train"].collate(row)["features"]
    assert found.dtype == torch.bfloat16
    batch = splits["train"].collate(row)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = classifier.prefix(input_values=batch["input_values"])["features"]
    assert found.shape == expected.shape
    assert torch.allclose(found.float(), expected.float(), atol=0.05)
    assert float(expected.float().std()) > 0.05


def test_a_batch_without_padding_has_no_mask(toy_model: Path, tmp_path: Path) -> None:
    splits = text_splits()
    cached, _ = use(build(toy_model, **FIRST_TWO), splits, tmp_path)
    (equal,) = np.flatnonzero(splits["train"].lengths == splits["train"].lengths[0])[:1]
    assert "attention_mask" not in cached["train"].collate(np.array([0, equal]))
    ragged = cached["train"].collate(np.arange(4))
    expected = splits["train"].collate(np.arange(4))
    assert torch.equal(ragged["attention_mask"], expected["attention_mask"].bool())
    assert {"labels", "ids", "hidden", "attention_mask"} == ragged.keys()


def test_folds_labels_and_seeds_share_stores_whoever_makes_them(
    hubert: Path, clips: Path, tmp_path: Path
) -> None:
    classifier = build(hubert, **FIRST_TWO)
    splits = speech_splits(clips, augment="default")
    other = speech_splits(clips, augment="default", fold=3, labels="transcript")
    assert set(splits["train"].ids) != set(other["train"].ids)
    assert len(survey(classifier, splits)) == 2, "of the corpus and of its variants"
    assert survey(classifier, splits) == survey(classifier, other)
    torch.manual_seed(9)
    torch.nn.init.normal_(classifier.head[-1].weight)  # type: ignore[arg-type]
    assert survey(classifier, splits) == survey(classifier, other)
    use(classifier, splits, tmp_path / "one")
    use(classifier, other, tmp_path / "other")
    for folder in survey(classifier, splits):
        one, another = (tmp_path / name / folder / "rows.bin" for name in ("one", "other"))
        assert one.read_bytes() == another.read_bytes()


def test_layers_above_the_prefix_do_not_matter_and_all_within_does(toy_model: Path) -> None:
    splits = text_splits()
    base = survey(build(toy_model, **FIRST_TWO), splits)
    assert len(base) == 2
    assert survey(build(toy_model, keep_layers=2, **FIRST_TWO), splits) == base
    assert survey(build(toy_model, read_layers=2, **FIRST_TWO), splits) == base
    assert survey(build(toy_model, heads={2: (1, 2)}, **FIRST_TWO), splits) == base
    others = [
        build(toy_model, frozen_embeddings=True, frozen_layers=(0,)),
        build(toy_model, heads={1: (1, 2)}, **FIRST_TWO),
        build(toy_model, heads={1: (1, 3)}, **FIRST_TWO),
    ]
    others.append(build(toy_model, **FIRST_TWO))
    with torch.no_grad():
        others[-1].layers[1].get_parameter("output.dense.bias")[0] += 1e-3
    others.append(build(toy_model, **FIRST_TWO))
    others[-1].encoder.config.layer_norm_eps = 1e-3
    found = [tuple(survey(classifier, splits)) for classifier in others]
    assert len({tuple(base), *found}) == 1 + len(others)


def test_other_content_gets_another_store(toy_model: Path, hubert: Path, clips: Path) -> None:
    classifier = build(toy_model, **FIRST_TWO)
    assert not set(survey(classifier, text_splits())) & set(
        survey(classifier, text_splits(longest=16))
    )
    speaker = build(hubert, **FIRST_TWO)
    (whole,) = survey(speaker, speech_splits(clips))
    (cut,) = survey(speaker, speech_splits(clips, max_seconds=0.25))
    (part,) = survey(speaker, speech_splits(clips, limit=3))
    assert len({whole, cut, part}) == 3


def test_a_quick_look_stores_only_its_rows(hubert: Path, clips: Path, tmp_path: Path) -> None:
    splits = speech_splits(clips, limit=3)
    classifier = build(hubert, **FIRST_TWO)
    cached, _ = use(classifier, splits, tmp_path)
    assert isinstance(cached["train"], CachedSplit)
    (store,) = cached["train"].stores
    assert store is not None
    assert len(store.rows) == 6
    found = predict.predict(classifier, cached["train"])
    assert found == pytest.approx(predict.predict(classifier, splits["train"]), abs=1e-5)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_what_is_not_the_same_in_every_epoch_or_batch_is_not_cached(
    toy_model: Path, hubert: Path, clips: Path, tmp_path: Path, mode: Mode
) -> None:
    cases = [
        (build(toy_model, frozen_layers=(0, 1)), text_splits(), "learns"),
        (build(hubert, frozen_features=True), speech_splits(clips, mask=False), "padding"),
    ]
    for classifier, splits, reason in cases:
        if mode == "on":
            with pytest.raises(UserError, match=reason):
                use(classifier, splits, tmp_path, mode)
        else:
            assert use(classifier, splits, tmp_path, mode) == (splits, None)
    assert not list(tmp_path.iterdir())


def test_auto_computes_ahead_only_what_is_passed_more_than_once(
    toy_model: Path, tmp_path: Path
) -> None:
    classifier, splits = build(toy_model, **FIRST_TWO), text_splits()
    assert use(classifier, splits, tmp_path, "auto", epochs=1)[0] is splits
    assert use(classifier, splits, tmp_path, "off", epochs=9)[0] is splits
    assert use(classifier, splits, tmp_path, "auto", epochs=2)[0] is not splits
    assert use(classifier, splits, tmp_path, "auto", epochs=1)[0] is not splits, "it is there"
    table = build(toy_model, frozen_embeddings=True)
    assert use(table, splits, tmp_path, "auto", epochs=9)[0] is splits, "a look-up saves nothing"


def test_a_head_alone_stores_the_one_position_it_reads(toy_model: Path, tmp_path: Path) -> None:
    classifier, splits = build(toy_model, **EVERY_LAYER), text_splits()
    jobs, _ = cache.survey(classifier, cast(Mapping[str, Rows], splits), root=tmp_path, dtype=None)
    guessed = sum(cache.estimate(classifier, job, dtype=None) for job in jobs)
    cached, _ = use(classifier, splits, tmp_path)
    assert cached["train"].collate(np.arange(4)).keys() == {"hidden", "labels", "ids"}
    took = sum(path.stat().st_size for path in tmp_path.glob("*/rows.bin"))
    assert took == guessed == sum(len(split) for split in splits.values()) * 32 * 4
    others = survey(build(toy_model, **EVERY_LAYER | {"pooling": "mean"}), splits)
    assert not set(others) & set(survey(classifier, splits))


def test_a_disk_without_room_is_told_and_left_alone(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, splits = build(toy_model, **FIRST_TWO), text_splits()
    jobs, _ = cache.survey(classifier, cast(Mapping[str, Rows], splits), root=tmp_path, dtype=None)
    guessed = sum(cache.estimate(classifier, job, dtype=None) for job in jobs)
    with monkeypatch.context() as patch:
        patch.setattr(cache_store, "KEEP_FREE", 10**18)
        found, told = use(classifier, splits, tmp_path, "auto")
        assert found is splits
        assert "no cache" in str(told)
        with pytest.raises(UserError, match="--cache-folder"):
            use(classifier, splits, tmp_path, "on")
    assert not list(tmp_path.iterdir())
    use(classifier, splits, tmp_path)
    took = sum(path.stat().st_size for path in tmp_path.glob("*/rows.bin"))
    assert took == sum(split.lengths.sum() for split in splits.values()) * 32 * 4
    assert guessed == pytest.approx(took, rel=0.01)


@pytest.mark.parametrize("damage", ["rows.bin", "index.npy", "meta.json"])
def test_a_damaged_store_is_one_line_that_says_how_to_clear_it(
    toy_model: Path, tmp_path: Path, damage: str
) -> None:
    classifier, splits = build(toy_model, **FIRST_TWO), text_splits()
    use(classifier, splits, tmp_path)
    path = next(tmp_path.glob(f"*/{damage}"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"damaged .*--delete cache") as caught:
        use(classifier, splits, tmp_path, "auto")
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_of_a_stored_row_is_one_line_that_says_how_to_clear_it(
    toy_model: Path, tmp_path: Path
) -> None:
    classifier, splits = build(toy_model, **FIRST_TWO), text_splits()
    use(classifier, splits, tmp_path)
    path = next(tmp_path.glob("*/rows.bin"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    train, validation = use(classifier, splits, tmp_path)[0].values()
    whole = np.arange(len(train)), np.arange(len(validation))
    validation.collate(whole[1])
    with pytest.raises(UserError, match=r"rows\.bin is damaged .*--delete cache"):
        train.collate(whole[0])


def test_an_interrupted_extraction_leaves_nothing(toy_model: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    caching = Caching(mode="on", folder=tmp_path, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        cache.use(build(toy_model, **FIRST_TWO), text_splits(), caching, dtype=None, epochs=3)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def fitted(
    folder: Path, model: Path, mode: Mode, stop_after: int | None = None
) -> list[dict[str, Any]]:
    """The records of a run, resumed if it is there, stopped after some."""
    spec = Spec(encoder=read_encoder_config(model), labels=LABELS, **FIRST_TWO)
    corpus = Corpus("toy", LABELS, text_splits(), False, None, "", None)
    config = runs.configuration(script="test", options={}, inputs={"data": ""}, device="cpu")
    caching = Caching(mode=mode, folder=folder.parent / "cache")
    records: list[dict[str, Any]] = []

    def stop() -> bool:
        return len(records) == stop_after

    with runs.opened(folder, config, resume=folder.exists()) as run:
        ways: dict[str, Any] = {"model": model, "device": torch.device("cpu"), "stop": stop}
        try:
            for record in fit.fit(run, corpus, spec, OPTIONS, caching=caching, **ways):
                records.append(record)
        except fit.Stopped:
            pass
    return records


def test_a_resumed_run_goes_on_as_it_began_to_the_same_bytes(
    toy_model: Path, tmp_path: Path
) -> None:
    whole = fitted(tmp_path / "whole", toy_model, "auto")
    fitted(tmp_path / "stopped", toy_model, "on", stop_after=5)
    with pytest.raises(UserError, match="began with --cache on"):
        fitted(tmp_path / "stopped", toy_model, "off")
    shutil.rmtree(tmp_path / "cache")  # cleared in between: made again
    assert fitted(tmp_path / "stopped", toy_model, "auto") == whole[5:]
    for name in ("metrics.jsonl", "best/model.safetensors"):
        one, other = (tmp_path / run / name for run in ("whole", "stopped"))
        assert one.read_bytes() == other.read_bytes()
    fitted(tmp_path / "plain", toy_model, "off", stop_after=2)
    with pytest.raises(UserError, match="began with --cache off"):
        fitted(tmp_path / "plain", toy_model, "on")


def test_the_script_makes_just_the_stores_that_training_reads(
    toy_model: Path,
    hubert: Path,
    clips: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, pairs = bert(tmp_path / "model"), prepared(tmp_path, many(20))
    for name in ("config.json", "model.safetensors"):
        shutil.copy(toy_model / name, model / name)
    root = tmp_path / "cache"
    common: dict[str, Any] = {"device": "cpu", "cache_folder": str(root)}
    config = extract_features.Config(
        data=str(pairs), model=str(model), layers=0.67, max_length=12, **common
    )
    made = extract_features.main(config)
    loaded = tokens.load(pairs, model, max_length=12)
    splits: dict[str, Split] = {name: loaded[name] for name in ("train", "validation")}
    classifier = build(model, **FIRST_TWO)
    assert [root / path for path in survey(classifier, splits)] == made
    assert "2 frozen layers" in capsys.readouterr().out
    assert extract_features.main(config) == made
    assert "there already" in capsys.readouterr().out

    config = extract_features.Config(
        data=str(clips), model=str(hubert), augment="default", **common
    )
    made = extract_features.main(config)
    voices = speech_splits(clips, augment="default")
    listener = build(hubert, **CONVOLUTIONS)
    assert [root / path for path in survey(listener, voices)] == made
    with pytest.raises(UserError, match="give --layers"):
        extract_features.main(extract_features.Config(data=str(pairs), model=str(model)))
