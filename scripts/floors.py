"""Compute the floors of a corpus: what is reached without any neural network."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lib import files
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Compute the floors of a prepared corpus; kept in its folder and reused."""

    data: str = "data/prepared/farstail-none"
    """Folder that scripts.prepare_text or scripts.prepare_shemo made."""
    labels: Literal["filename", "transcript", "agree"] = "filename"
    """Of speech: label version, as in scripts.train_hubert."""
    split: Literal["speaker", "report", "emobox", "manifest"] = "speaker"
    """Of speech: who trains and who tests."""
    fold: int = 1
    """Of speech: which fifth of the speakers tests, 1 to 5."""
    emobox: str | None = None
    """Of speech: EmoBox's list of clips, for --split emobox."""
    force: bool = False
    """Compute them again."""


def main(cfg: Config) -> list[dict[str, Any]]:
    """The floors, as in the JSON file that is printed."""
    from lib import packed
    from lib.figures import SAMPLE

    folder = Path(cfg.data)
    speech = packed.is_speech(folder)
    path, there = _speech(folder, cfg) if speech else _text(folder, cfg)
    print(f"{path}{f' ({SAMPLE})' if there['sample'] else ''}")
    for floor in there["floors"]:
        interval = ""
        if floor["ci_low"] is not None:
            interval = f" (95 % {floor['ci_low']:.4f} to {floor['ci_high']:.4f})"
        uar = f", UAR {floor['uar']:.4f}" if speech else ""
        print(f"  {floor['name']}: accuracy {floor['accuracy']:.4f}{interval}{uar}")
    return there["floors"]


def _text(folder: Path, cfg: Config) -> tuple[Path, dict[str, Any]]:
    """The file of a text corpus's floors, and what it holds."""
    from lib import floors, text

    meta = text.read_meta(folder)
    basis = {"version": floors.VERSION, "fingerprint": meta["fingerprint"]}
    path = folder / "floors.json"
    there = _read(path, basis, cfg)
    if there is None:
        there = basis | {"sample": meta["sample"], "floors": floors.floors(folder)}
        files.write_sealed(path, there)
    return path, there


def _speech(folder: Path, cfg: Config) -> tuple[Path, dict[str, Any]]:
    """The file of the floors of one split of a speech corpus, and what it holds."""
    from lib import packed, speech, speech_floors

    meta, options = packed.read_meta(folder), asdict(cfg)
    manifest, split, labels = speech.parts(folder, options)
    basis = {
        "version": speech_floors.VERSION,
        "fingerprint": meta["fingerprint"],
        **{name: options[name] for name in ("labels", "split", "fold")},
        "parts": files.digest([split.tolist(), labels.fillna("").tolist()]),
    }
    path = folder / f"{speech_floors.file_name(options)}.json"
    table = path.with_suffix(".csv")
    there = _read(path, basis, cfg, beside=table)
    if there is None:
        names = meta["labels"]
        with _cli.progress_bar("clips") as progress:
            guesses = speech_floors.guesses(
                folder, manifest, split, labels, class_names=names, progress=progress
            )
        with files.staged_file(table) as temporary:
            guesses.to_csv(temporary, index=False)  # so that folds can be pooled
        found = speech_floors.score(guesses, class_names=names)
        there = basis | {"sample": meta["sample"], "classes": names, "floors": found}
        files.write_sealed(path, there, beside=table)
    return path, there


def _read(
    path: Path, basis: dict[str, Any], cfg: Config, beside: Path | None = None
) -> dict[str, Any] | None:
    """What the file holds, unless it is missing, of something else, or to be made again."""
    there = None if cfg.force else files.read_sealed(path, beside=beside)
    return there if there and there.items() >= basis.items() else None


if __name__ == "__main__":
    _cli.run(main, Config)
