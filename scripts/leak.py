"""Say what the splits of a prepared corpus give away, and which rows they all but share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lib import files
from lib.errors import UserError
from scripts import _cli

VERSION = 1  # of what is computed: raised, old files are made again
PROTOCOLS = ("speaker", "report", "emobox", "manifest")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Say what the splits of a prepared corpus give away, and which rows they all but share.

    Writes leak.json, leak.md and leak.png to DATA/leak; for speech to DATA/leak-LABELS.
    """

    data: str = "data/prepared/farstail-none"
    """Folder that scripts.prepare_text or scripts.prepare_shemo made."""
    labels: Literal["filename", "transcript", "agree"] = "filename"
    """Of speech: label version."""
    splits: tuple[Literal["speaker", "report", "emobox", "manifest"], ...] = ()
    """Of speech: who trains and who tests; by default all that the corpus has."""
    emobox: str | None = None
    """Of speech: EmoBox's list of clips, for its split."""
    text_similarity: float = 0.8
    """From which cosine of letter patterns on two texts are near-duplicates."""
    sound_similarity: float = 0.9
    """The same of two recordings, by the energies of their bands."""
    force: bool = False
    """Compute it again."""


def main(cfg: Config) -> dict[str, Any]:
    """What leak.json holds: gives_away, near and examples, a list of rows each."""
    from lib import packed, text
    from lib.study import leak_page

    for name in ("text_similarity", "sound_similarity"):
        if not 0 < getattr(cfg, name) <= 1:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} {getattr(cfg, name):g}: give a number above 0, up to 1")
    folder = Path(cfg.data)
    speech = packed.is_speech(folder)
    meta = (packed if speech else text).read_meta(folder)
    out = folder / (f"leak-{cfg.labels}" if speech else "leak")
    basis = {"version": VERSION, "fingerprint": meta["fingerprint"], "options": _options(cfg)}
    path = out / "leak.json"
    found = None if cfg.force else files.read_sealed(path)
    if not found or not found.items() >= basis.items():
        found = basis | {"sample": meta["sample"]}
        found |= _speech(folder, cfg, meta) if speech else _text(folder, cfg)
        files.write_sealed(path, found)
    leak_page.draw(out / "leak.png", found, meta["name"])
    files.write_text(out / "leak.md", leak_page.page(found, meta["name"], "leak.png"))
    _show(out, found)
    return found


def _options(cfg: Config) -> dict[str, Any]:
    """What decides on the figures, as JSON gives it back."""
    names = ("labels", "emobox", "text_similarity", "sound_similarity")
    return {name: getattr(cfg, name) for name in names} | {"splits": list(cfg.splits)}


def _text(folder: Path, cfg: Config) -> dict[str, Any]:
    """What the splits of a text corpus give away."""
    from lib.study import leak_corpus
    from scripts import floors

    known = floors.main(floors.Config(data=cfg.data))
    rows = [{"split": leak_corpus.OWN, "from": of["name"], **_but_name(of)} for of in known]
    found = leak_corpus.of_text(folder, least=cfg.text_similarity)
    return {"gives_away": rows, "left_out": [], **found}


def _speech(folder: Path, cfg: Config, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What the splits of a speech corpus give away, each protocol with all its folds."""
    from lib.study import leak_corpus
    from scripts import floors

    rows, left_out, parted = [], [], {}
    for protocol in cfg.splits or PROTOCOLS:
        told: dict[str, Any] = {"labels": cfg.labels, "split": protocol, "emobox": cfg.emobox}
        folds = leak_corpus.folds(folder, told)
        if isinstance(folds, str):
            if cfg.splits:
                raise UserError(folds)
            left_out.append(f"split {protocol}: {folds}")
            continue
        for fold in range(1, len(folds) + 1):
            floors.main(floors.Config(data=cfg.data, fold=fold, **told))
        scored = leak_corpus.scores(folder, folds, told, class_names=meta["labels"])
        rows += [{"split": protocol, "from": of["name"], **_but_name(of)} for of in scored]
        parted[protocol] = folds
    if not parted:
        raise UserError(f"{folder} cannot be parted: {'; '.join(left_out)}")
    least = {"text": cfg.text_similarity, "sound": cfg.sound_similarity}
    with _cli.progress_bar("clips") as progress:
        found = leak_corpus.of_speech(folder, parted, least=least, progress=progress)
    return {"gives_away": rows, "left_out": left_out, **found}


def _but_name(floor: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in floor.items() if key != "name"}


def _show(out: Path, found: Mapping[str, Any]) -> None:
    print(f"{out}: leak.json, leak.md, leak.png")
    for row in found["gives_away"]:
        print(f"  split {row['split']}, {row['from']}: accuracy {row['accuracy']:.4f}")
    for row in found["near"]:
        print(
            f"  split {row['split']}, {row['what']}: of {row['n']} in {row['asked']}, "
            f"{row['n_near']} are near one in {row['seen']}, {row['n_equal']} of them equal"
        )


if __name__ == "__main__":
    _cli.run(main, Config)
