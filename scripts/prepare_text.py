"""Prepare FarsTail, or any three files of labelled sentences or pairs, for training."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lib import text, tokens
from lib.errors import UserError
from lib.text_source import FARSTAIL_LABELS, SPLITS, Layout, farstail
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Prepare FarsTail, or any three files of labelled sentences or pairs, for training."""

    data: str = "data/raw/farstail"
    """Folder with FarsTail's Train-word.csv, Val-word.csv and Test-word.csv."""
    train: str | None = None
    """A TSV or CSV file with a header; with --validation and --test, instead of --data."""
    validation: str | None = None
    """The second of the three files."""
    test: str | None = None
    """The third of the three files."""
    name: str | None = None
    """Name of the prepared folder; by default the source's with the preprocessing."""
    out: str = "data/prepared"
    """Where the prepared folder goes."""
    preprocess: Literal["none", "normalize", "full"] = "none"
    """hazm's normalizer; full: then without stop words, lemmatized (the report's)."""
    premise_column: str = "premise"
    """Column of the premise, or of the sentence where there is no hypothesis."""
    hypothesis_column: str | None = "hypothesis"
    """Column of the hypothesis; None for single sentences."""
    label_column: str = "label"
    """Column of the label."""
    separator: str | None = None
    """tab, comma, semicolon, pipe or a character; found from the header by default."""
    quotes: bool = True
    """Whether a field in quotation marks may hold separators and line breaks."""
    labels: tuple[str, ...] = ()
    """The classes in their order; by default e c n for FarsTail, else sorted."""
    model: str | None = None
    """A local model folder; its token arrays are made and counted right away."""
    max_length: int = 128
    """Tokens of a pair for --model, special ones included; longer pairs are cut."""
    workers: int | None = None
    """Processes that clean the text; by default as many cores as pay."""
    force: bool = False
    """Replace a folder of that name that was made from something else."""


def main(cfg: Config) -> Path:
    """The prepared folder; made now, or there already from the same files and options."""
    files = [Path(name) for name in (cfg.train, cfg.validation, cfg.test) if name]
    if len(files) not in {0, 3}:
        raise UserError("--train, --validation and --test are needed together")
    sources = dict(zip(SPLITS, files, strict=True)) if files else farstail(Path(cfg.data))
    layout = Layout(
        premise=cfg.premise_column,
        hypothesis=cfg.hypothesis_column,
        label=cfg.label_column,
        separator=cfg.separator,
        quotes=cfg.quotes,
        labels=cfg.labels or (() if files else FARSTAIL_LABELS),
    )
    folder = Path(cfg.out) / _name(cfg, sources["train"])
    with _cli.progress_bar("texts") as progress:
        made = text.prepare(
            sources,
            folder,
            layout=layout,
            preprocess=cfg.preprocess,
            workers=cfg.workers,
            force=cfg.force,
            progress=progress,
        )
    meta = text.read_meta(folder)
    _draw(folder, meta)
    sizes = " / ".join(str(split["n"]) for split in meta["splits"].values())
    state = "prepared" if made else "was there from the same files and options, reused"
    print(f"{folder}: {state}; {sizes} rows, labels {' '.join(meta['labels'])}")
    for warning in meta["warnings"]:
        print(f"warning: {warning}")
    if cfg.model is not None:
        _tokenize(folder, Path(cfg.model), cfg.max_length)
    return folder


def _name(cfg: Config, train: Path) -> str:
    name = cfg.name or f"{train.resolve().parent.name or 'text'}-{cfg.preprocess}"
    if name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
        raise UserError(f"{name!r} is no name for a folder; give another --name")
    return name


def _draw(folder: Path, meta: dict[str, Any]) -> None:
    """Class counts and lengths of each split, if the pictures are not there yet."""
    from lib import figures

    counts, lengths = (folder / "figures" / f"{n}.png" for n in ("classes", "lengths"))
    if counts.is_file() and lengths.is_file():
        return
    title, sample = meta["name"], meta["sample"]
    of_class = {split: meta["splits"][split]["counts"] for split in SPLITS}
    figures.class_counts(counts, of_class, title=f"{title}: classes", sample=sample)
    columns = ("premise", "hypothesis") if meta["pairs"] else ("premise",)
    n_words = {}
    for split in SPLITS:
        frame = text.read_split(folder, split)
        n_words[split] = {c: text.n_words(frame[c]) for c in columns}
    figures.sentence_lengths(lengths, n_words, title=f"{title}: words", sample=sample)


def _tokenize(folder: Path, model: Path, max_length: int) -> None:
    """Make the token arrays and say what was cut or unknown."""
    with _cli.progress_bar("rows") as progress:
        path = tokens.tokenize(folder, model, max_length=max_length, progress=progress)
    for split, n in tokens.summary(path)["splits"].items():
        unknown = f"{n['n_unknown']} of {n['n_tokens']} tokens unknown"
        cut = f"{n['n_truncated']} of {n['n']} rows cut to {max_length} tokens"
        print(f"{split}: {cut} (longest {n['longest']}), {unknown}")


if __name__ == "__main__":
    _cli.run(main, Config)
