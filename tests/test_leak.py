"""What splits give away, on cases made by hand: text, sound, and the script that reports it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib import files
from lib.errors import UserError
from lib.study import leak, leak_corpus, leak_speech
from scripts import leak as script
from scripts import prepare_text
from tests.conftest import pack

RATE = 16_000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("كتابي", "کتابی"),
        ("می‌رود", "میرود"),
        ("قصر المَشتی", "قصر المشتی"),
        ("سال ۱۳۵۷", "سال 1357"),
        ("«این»، آن!", "این آن"),
        ("Ａb  C", "ab c"),
        ("رأی", "رای"),
    ],
)
def test_a_text_is_the_same_however_it_was_typed(one: str, other: str) -> None:
    assert leak.normal(one) == leak.normal(other)
    assert leak.normal(one)


def test_texts_that_differ_in_a_word_do_not_become_equal() -> None:
    assert leak.normal("او آمد") != leak.normal("او نیامد")
    assert leak.normal("؟!") == ""


def test_the_nearest_text_is_the_one_that_was_changed_a_little() -> None:
    texts = [
        "نهج البلاغه در قرن چهارم هجری گردآوری شد",
        "سازمان برنامه در سال ۱۳۲۷ تاسیس گردید",
        "",
        "نهج البلاغه در قرن چهارم هجری به وسیله او گردآوری شده است",
        "گربه روی دیوار نشسته بود",
        "",
    ]
    nearest = leak.nearest_of(leak.text_vectors(texts))
    places, similarities = nearest(np.array([0, 1, 2]), np.array([3, 4, 5]))
    assert places[0] == 0
    assert similarities[0] > 0.6
    assert similarities[1] < 0.3
    assert similarities[2] == 0, "nothing is near to nothing"
    same = nearest(np.array([0, 1]), np.array([1]))
    assert same[0].tolist() == [1]
    assert same[1][0] == pytest.approx(1)


def by_hand(similarity: dict[tuple[int, int], float]) -> leak.Nearest:
    def nearest(known: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [[similarity.get((row, other), 0.0) for other in known] for row in asked]
        values = np.array(found).reshape(len(asked), len(known))
        return known[values.argmax(1)], values.max(1)

    return nearest


def test_near_duplicates_are_counted_across_splits_and_never_within_one() -> None:
    split = np.array(["train", "train", "validation", "test", "test", "test", ""])
    labels = np.array(["e", "n", "e", "e", "c", "n", "e"])
    near = {(2, 0): 0.9, (3, 1): 1.0, (4, 0): 0.85, (5, 4): 1.0, (3, 6): 1.0, (5, 2): 0.79}
    table, found = leak.across(
        split,
        by_hand(near),
        labels=labels,
        groups=np.arange(7),
        threshold=0.8,
        equal=lambda one, other: (one, other) == (3, 1),
    )
    counts = {(r["seen"], r["asked"]): (r["n"], r["n_near"], r["n_equal"]) for r in table}
    assert counts == {
        ("train", "validation"): (1, 1, 0),
        ("train", "test"): (3, 2, 1),
        ("validation", "test"): (3, 0, 0),
    }
    of = {(r["seen"], r["asked"]): r for r in table}
    assert of["train", "validation"]["same_label"] == 1
    assert of["train", "test"]["same_label"] == 0
    assert of["validation", "test"]["same_label"] is None
    assert of["train", "test"]["share"] == pytest.approx(2 / 3)
    assert of["train", "test"]["ci_low"] < 2 / 3 < of["train", "test"]["ci_high"] + 1e-9
    assert [(r["row"], r["other"], r["equal"]) for r in found] == [
        (3, 1, True),
        (2, 0, False),
        (4, 0, False),
    ]
    (pooled,) = [r for r in leak.added([table, table]) if r["asked"] == "validation"]
    assert (pooled["n"], pooled["n_near"], pooled["same_label"]) == (2, 2, 1)
    assert pooled["ci_low"] is None, "a row that was asked twice is no second one"


def speech(seed: int, seconds: float = 1.5) -> np.ndarray:
    """Syllables of harmonics with gaps, as int16: like speech to whoever looks at bands."""
    generator = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    while sum(len(part) for part in parts) < seconds * RATE:
        n = int(generator.integers(1500, 4000))
        time = np.arange(n) / RATE
        pitch, tilt = generator.uniform(90, 250), generator.uniform(0.3, 1.6)
        tones = [k**-tilt * np.sin(2 * np.pi * pitch * k * time) for k in range(1, 14)]
        parts += [
            np.sum(tones, axis=0) * np.hanning(n),
            np.zeros(int(generator.integers(200, 900))),
        ]
    wave = np.concatenate(parts)[: int(seconds * RATE)]
    return (9000 * wave / np.abs(wave).max()).astype(np.int16)


def copies(wave: np.ndarray) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(9)
    quiet = np.zeros(4000, np.int16)
    coarse = np.interp(np.arange(len(wave)), np.arange(0, len(wave), 2), wave[::2])
    return {
        "itself": wave,
        "louder": (wave * 2.5).astype(np.int16),
        "between silences": np.concatenate([quiet, wave, quiet]),
        "with noise": (wave + generator.normal(0, 20, len(wave))).astype(np.int16),
        "at half the rate": coarse.astype(np.int16),
        "coded in 8 bits": (wave // 256 * 256).astype(np.int16),
    }


@pytest.mark.parametrize("how", list(copies(speech(0))))
def test_a_copy_of_a_clip_is_found_and_other_clips_are_not(how: str) -> None:
    clips = [speech(seed) for seed in range(5)] + [copies(speech(0))[how]]
    found = [leak_speech.fingerprint(clip.astype(np.float32)) for clip in clips]
    nearest = leak_speech.nearest_sound(
        np.stack([of[0] for of in found]), np.array([of[1] for of in found])
    )
    (place,), (similarity,) = nearest(np.arange(5), np.array([5]))
    assert place == 0
    assert similarity > script.Config().sound_similarity
    _, others = nearest(np.arange(1, 5), np.array([5]))
    assert others[0] < script.Config().sound_similarity


def test_silence_is_near_to_nothing_and_lengths_must_agree() -> None:
    for wave in (np.zeros(RATE, np.float32), np.zeros(10, np.float32), np.ones(100, np.float32)):
        vector, seconds = leak_speech.fingerprint(wave)
        assert not vector.any()
        assert seconds == 0
    prints = np.ones((2, 1), np.float32)
    for other, expected in ((1.05, 1.0), (1.2, 0.0)):
        nearest = leak_speech.nearest_sound(prints, np.array([1.0, other]))
        assert nearest(np.array([0]), np.array([1]))[1][0] == expected


def test_words_that_belong_to_a_class_give_it_away_and_a_clip_without_words_does_not() -> None:
    words = ["باران آمد", "باران رفت", "برف آمد", "برف رفت", "باران", "برف دید", ""]
    manifest = pd.DataFrame({"transcript": words}, index=list("abcdefg"))
    split = pd.Series(["train"] * 4 + ["test"] * 3, index=manifest.index)
    labels = pd.Series(["A", "A", "N", "N", "A", "N", "A"], index=manifest.index)
    guess = leak_speech.transcript_guess(manifest, split, labels)
    assert guess is not None
    assert guess[["e", "f"]].tolist() == ["A", "N"]
    assert leak_speech.transcript_guess(manifest.assign(transcript=""), split, labels) is None
    same = leak_speech.same_transcript(["می‌رود!", "میرود", "", ""])
    assert (same(0, 1), same(2, 3)) == (True, False)


HOSTILE = "سلام <script>alert(1)</script> a|b $x_1$ دنیا & آخر"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared text of which one test premise, with what would break a page, trains too."""
    place = tmp_path_factory.mktemp("pairs")
    for split, n in (("train", 12), ("validation", 3), ("test", 6)):
        rows = ["premise\thypothesis\tlabel"]
        for i in range(n):
            premise = (
                HOSTILE if split != "validation" and i == 0 else f"{split} {i} {'xyz'[i % 3] * 9}"
            )
            rows.append(f"{premise}\t{['کتاب', 'خانه', 'شهر'][i % 3]} {split}{i}\t{'ecn'[i % 3]}")
        (place / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    files: dict[str, Any] = {s: str(place / f"{s}.tsv") for s in ("train", "validation", "test")}
    prepare_text.main(prepare_text.Config(**files, name="pairs", out=str(place)))
    return place / "pairs"


def test_the_script_reports_what_text_gives_away_and_its_page_breaks_on_nothing(
    pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = script.main(script.Config(data=str(pairs)))
    assert {row["from"] for row in found["gives_away"]} == {
        "majority",
        "hypothesis only",
        "overlap",
    }
    near = {(row["what"], row["seen"], row["asked"]): row for row in found["near"]}
    assert near["premise", "train", "test"]["n_equal"] == 1
    assert near["premise", "train", "validation"]["n_near"] == 0
    assert found["examples"][0]["text"] == HOSTILE
    folder = pairs / "leak"
    page = (folder / "leak.md").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "a\\|b" in page
    assert files.read_sealed(folder / "leak.json") == found
    assert (folder / "leak.png").stat().st_size > 5000
    with monkeypatch.context() as patch:
        patch.setattr(leak_corpus, "of_text", lambda *_, **__: pytest.fail("computed again"))
        assert script.main(script.Config(data=str(pairs))) == found
    other = script.main(script.Config(data=str(pairs), text_similarity=0.1))
    assert other["near"] != found["near"], "another threshold is another question"


def test_the_script_reports_each_split_that_a_speech_corpus_can_have(tmp_path: Path) -> None:
    names = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
    clips = [speech(seed, 0.6) for seed in range(len(names))]
    clips[9] = (clips[2] * 0.5).astype(np.int16)
    rows = pd.DataFrame({"path": [f"{i}.wav" for i in range(len(names))], "split": names})
    rows["label_filename"] = ["A", "N"] * 6
    rows["speaker"] = [f"s{i // 3}" for i in range(len(names))]
    rows["transcript"] = ["باران" if i % 2 == 0 else "برف" for i in range(len(names))]
    folder = pack(tmp_path / "clips", clips, rows)
    found = script.main(script.Config(data=str(folder)))
    of = {(row["split"], row["from"]): row["accuracy"] for row in found["gives_away"]}
    assert of["manifest", "transcript"] == 1, "the words say it all"
    assert of["manifest", "majority"] == 0.5
    assert any("emobox" in reason for reason in found["left_out"])
    near = {(r["split"], r["what"], r["seen"], r["asked"]): r for r in found["near"]}
    assert near["manifest", "sound", "train", "test"]["n_near"] == 1
    assert near["manifest", "sound", "train", "validation"]["n_near"] == 0
    assert near["manifest", "transcript", "train", "test"]["n_equal"] == 4
    assert {(r["text"], r["other_text"]) for r in found["examples"] if r["what"] == "sound"} >= {
        ("9.wav", "2.wav")
    }
    assert (folder / "leak-filename/leak.png").stat().st_size > 5000
    with pytest.raises(UserError, match="emobox"):
        script.main(script.Config(data=str(folder), splits=("emobox",)))


@pytest.mark.parametrize("value", [0.0, 1.5, -1.0])
def test_a_similarity_that_is_none_is_one_line(pairs: Path, value: float) -> None:
    with pytest.raises(UserError, match="--text-similarity"):
        script.main(script.Config(data=str(pairs), text_similarity=value))
