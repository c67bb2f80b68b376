"""Which clip trains, validates and tests: the report's split, by speaker, EmoBox's, or its own."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import recall_score
from sklearn.model_selection import train_test_split

from lib.emobox import read_list
from lib.errors import UserError
from lib.speech_listing import clip_name
from lib.text_source import SPLITS

PROTOCOLS = ("speaker", "report", "emobox", "manifest")
VERSIONS = ("filename", "transcript", "agree")
N_FOLDS = 5
VALIDATION_SHARE = 8  # one in so many of the training speakers, or clips, validates
REPORT_STATE = 44


def labels(manifest: pd.DataFrame, version: str) -> pd.Series:
    """The label of each clip, NaN where it has none.

    Args:
        manifest: of a prepared speech folder; the index is kept.
        version: "filename", "transcript", or "agree": only the clips on which the two are equal.

    Raises:
        UserError: if the version is unknown, or needs labels that the corpus does not have.
    """
    if version not in VERSIONS:
        raise UserError(f"unknown labels {version!r}; one of {', '.join(VERSIONS)}")
    by_name, by_transcript = (_column(manifest, f"label_{of}") for of in VERSIONS[:2])
    if version != "filename" and by_transcript.isna().all():
        remedy = "prepare the corpus with modified_shemo.json, or take --labels filename"
        raise UserError(f"--labels {version}: no clip has a transcript label; {remedy}")
    if version == "agree":
        chosen = by_name.where(by_name == by_transcript)
    else:
        chosen = by_name if version == "filename" else by_transcript
    if chosen.isna().all():
        raise UserError(f"--labels {version}: no clip has such a label")
    return chosen.rename("label")


def assign(
    manifest: pd.DataFrame,
    *,
    protocol: str,
    version: str,
    fold: int = 1,
    emobox: Path | None = None,
) -> pd.Series:
    """The split of each clip: train, validation, test, or "" for one that is left out.

    - speaker: five folds of speakers, each with its share of every class in both label versions;
      fold k tests, about an eighth of the other speakers validates. The speakers of a fold are
      the same for every label version.
    - report: 20 % of the clips test, half of the rest validates, stratified, whoever speaks.
    - emobox: EmoBox's first fold on its 2838 clips; an eighth of its training clips, stratified,
      validates, as it publishes no validation split.
    - manifest: the corpus's own; without validation, an eighth of the training speakers (of the
      clips, stratified, if speakers are not known) validates.

    Args:
        manifest: of a prepared speech folder; the index is kept, the order of rows is no matter.
        protocol: one of PROTOCOLS.
        version: of the labels; a clip without label is left out.
        fold: which fifth of the speakers tests, 1 to 5; 1 for the other protocols.
        emobox: EmoBox's list, for that protocol; see lib/emobox.py.

    Raises:
        UserError: if the protocol cannot be had on this corpus, or leaves a class untrained.

    Source: report and its state 44: the reference report, 1.1; emobox: arXiv 2406.07162.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown split {protocol!r}; one of {', '.join(PROTOCOLS)}")
    n_folds = N_FOLDS if protocol == "speaker" else 1
    if not 1 <= fold <= n_folds:
        raise UserError(f"--split {protocol} has the folds 1 to {n_folds}, not {fold}")
    stem = manifest["path"].map(clip_name)
    order = pd.DataFrame({"stem": stem, "path": manifest["path"]}).sort_values(["stem", "path"])
    rows, of_clip = manifest.loc[order.index], labels(manifest, version).loc[order.index]
    if protocol == "speaker":
        split = _by_speaker(rows, fold)
    elif protocol == "report":
        split = _report(of_clip.dropna())
    elif protocol == "emobox":
        split = _emobox(rows, of_clip, version, emobox)
    else:
        split = _own(rows, of_clip)
    split = split.reindex(manifest.index, fill_value="").rename("split")
    split[of_clip.isna().reindex(manifest.index)] = ""
    _check(split, of_clip.reindex(manifest.index), protocol)
    return split


def shared_speakers(manifest: pd.DataFrame, split: pd.Series) -> int:
    """The number of speakers, of those that are known, who speak in more than one split."""
    speaker = _column(manifest, "speaker")
    return int((split[split != ""].groupby(speaker).nunique() > 1).sum())


def speaker_guess(manifest: pd.DataFrame, split: pd.Series, labels: pd.Series) -> pd.Series:
    """The class that speaker identity alone predicts for each test clip.

    It is the most frequent training class of the clip's speaker, or of all training clips for a
    speaker who does not train; the first in alphabetical order among equals.
    """
    speaker, trains = _column(manifest, "speaker"), split == "train"
    of_all = labels[trains].mode().iloc[0]
    of_speaker = labels[trains].groupby(speaker[trains]).agg(lambda own: own.mode().iloc[0])
    return speaker[split == "test"].map(lambda name: of_speaker.get(name, of_all))


def leak(manifest: pd.DataFrame, split: pd.Series, labels: pd.Series) -> dict[str, float]:
    """What speakers give away: n_test, n_shared (test clips whose speaker trains), accuracy, uar.

    The accuracy and UAR are those of `speaker_guess`, which hears nothing.
    """
    tests = split == "test"
    speaker = _column(manifest, "speaker")
    guess, truth = speaker_guess(manifest, split, labels), labels[tests]
    return {
        "n_test": int(tests.sum()),
        "n_shared": int(speaker[tests].isin(speaker[split == "train"].dropna()).sum()),
        "accuracy": float((guess == truth).mean()),
        "uar": float(recall_score(truth, guess, labels=truth.unique(), average="macro")),
    }


def notes(
    manifest: pd.DataFrame, split: pd.Series, labels: pd.Series, *, protocol: str
) -> list[str]:
    """What a user should be told of a split, a line each: clips left out, draws, the leak."""
    lines = []
    if n_out := int((split == "").sum()):
        lines.append(f"{n_out} of {len(split)} clips are in no split")
    if protocol == "manifest" and not (manifest["split"] == "validation").any():
        how = "speakers" if _speakers_can_part(manifest[split.isin(SPLITS[:2])]) else "clips"
        lines.append(f"no validation split of its own: {how} were taken out of training")
    found = leak(manifest, split, labels)
    if found["n_shared"]:
        lines.append(
            f"{found['n_shared']} of {found['n_test']} test clips are of speakers who also train; "
            f"speaker identity alone gives accuracy {found['accuracy']:.3f}, UAR {found['uar']:.3f}"
        )
    return lines


def _column(manifest: pd.DataFrame, name: str) -> pd.Series:
    """A column of texts, NaN where it is empty or absent."""
    if name not in manifest:
        return pd.Series(np.nan, index=manifest.index, dtype=object)
    column = manifest[name].astype(object)
    return column.where(column.notna() & (column != ""))


def _report(of_clip: pd.Series) -> pd.Series:
    """The report's split of the labelled clips, which come in the order of their names."""
    rest, test = _draw(of_clip, 0.2)
    _, validation = _draw(of_clip[rest], 0.5)
    split = pd.Series("train", index=of_clip.index)
    split[test], split[validation] = "test", "validation"
    return split


def _draw(of_clip: pd.Series, share: float) -> tuple[pd.Index, pd.Index]:
    """(The rest, a stratified share) of the clips."""
    try:
        rest, drawn = train_test_split(
            of_clip.index.to_numpy(),
            test_size=share,
            stratify=of_clip.to_numpy(str),
            random_state=REPORT_STATE,
        )
    except ValueError as error:
        problem = f"{len(of_clip)} clips cannot be split by class"
        raise UserError(f"{problem} ({error}); take --split speaker or more clips") from None
    return pd.Index(rest), pd.Index(drawn)


def _by_speaker(rows: pd.DataFrame, fold: int) -> pd.Series:
    speaker = _column(rows, "speaker")
    if speaker.isna().any():
        problem = f"{int(speaker.isna().sum())} of {len(rows)} clips have no known speaker"
        raise UserError(f"--split speaker: {problem}; name them in the manifest or take another")
    if speaker.nunique() < N_FOLDS:
        problem = f"{speaker.nunique()} speakers, and {N_FOLDS} folds need one each"
        raise UserError(f"--split speaker: the corpus has {problem}; take --split report")
    split = pd.Series("train", index=rows.index)
    split[speaker.map(_portions(rows, N_FOLDS)) == fold - 1] = "test"
    split[_validation_speakers(rows[split == "train"])] = "validation"
    return split


def _validation_speakers(rows: pd.DataFrame) -> pd.Index:
    """The clips of about an eighth of the speakers: the portion most like the whole."""
    speaker = _column(rows, "speaker")
    n = min(VALIDATION_SHARE, speaker.nunique())
    portion = _portions(rows, n)
    unlike = (_shares(rows).groupby(portion).sum() * n - 1).abs().max(axis=1)
    return rows.index[speaker.map(portion) == unlike.idxmin()]


def _portions(rows: pd.DataFrame, n: int) -> pd.Series:
    """The number, 0 to n - 1, of the portion of each speaker; every class in all of them.

    The speakers, those with the largest shares first, go where they raise the sum of the squared
    shares of clips and classes least; so no portion stays empty and the draw needs no seed.
    """
    shares = _shares(rows)
    filled = np.zeros((n, shares.shape[1]))
    portion: dict[str, int] = {}
    for name in shares.sum(axis=1).sort_values(ascending=False, kind="stable").index:
        share = shares.loc[name].to_numpy()
        portion[name] = int(np.argmin(filled @ share))
        filled[portion[name]] += share
    return pd.Series(portion)


def _shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Speakers by (all clips, classes of both label versions): the fraction that each speaks."""
    speaker = rows["speaker"]
    table = speaker.value_counts().sort_index().to_frame("all")
    for version in VERSIONS[:2]:
        counts = pd.crosstab(speaker, _column(rows, f"label_{version}"))
        table = table.join(counts.add_prefix(f"{version} ")).fillna(0)
    return table / table.sum()


def _emobox(rows: pd.DataFrame, of_clip: pd.Series, version: str, path: Path | None) -> pd.Series:
    if version != "filename":
        raise UserError("--split emobox has the labels of the file names; take --labels filename")
    if path is None:
        remedy = "get it with scripts.fetch_shemo, name it with --emobox"
        raise UserError(f"--split emobox needs EmoBox's list; {remedy}")
    listed = read_list(path)
    split = rows["path"].map(lambda name: listed.get(clip_name(name), ""))
    if not {"train", "test"} <= set(split):
        raise UserError(f"{path} lists no clips, or no tests, of this corpus; is it ShEMO?")
    trains = (split == "train") & of_clip.notna()
    split[_draw(of_clip[trains], 1 / VALIDATION_SHARE)[1]] = "validation"
    return split


def _own(rows: pd.DataFrame, of_clip: pd.Series) -> pd.Series:
    split = _column(rows, "split").fillna("").astype(str)
    if unknown := sorted(set(split) - {*SPLITS, ""}):
        raise UserError(f"the manifest's split {unknown[0]!r} is none of {', '.join(SPLITS)}")
    if (split == "validation").any():
        return split
    trains = (split == "train") & of_clip.notna()
    if not trains.any():
        raise UserError("--split manifest: the manifest names no training clips; take another")
    if _speakers_can_part(rows[trains]):
        split[_validation_speakers(rows[trains])] = "validation"
    else:
        split[_draw(of_clip[trains], 1 / VALIDATION_SHARE)[1]] = "validation"
    return split


def _speakers_can_part(rows: pd.DataFrame) -> bool:
    """Whether the training clips are of several speakers, all of them known."""
    speaker = _column(rows, "speaker")
    return bool(speaker.notna().all()) and speaker.nunique() > 1


def _check(split: pd.Series, of_clip: pd.Series, protocol: str) -> None:
    for name in SPLITS:
        if not (split == name).any():
            raise UserError(f"--split {protocol} leaves no clip for {name}; take another or more")
    missing = sorted(set(of_clip[split != ""]) - set(of_clip[split == "train"]))
    if missing:
        problem = f"leaves no training clip of the class {', '.join(missing)}"
        raise UserError(f"--split {protocol} {problem}; take another or more clips of it")
