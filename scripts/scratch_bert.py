"""Make an untrained BERT with a vocabulary from a prepared corpus: to try things, or from zero."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.scratch_bert import Options, make
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Make an untrained BERT with a vocabulary from a prepared corpus's training split."""

    data: str = "data/prepared/farstail-none"
    """Folder that scripts.prepare_text made."""
    name: str = "tiny-bert"
    """Folder below --out."""
    layers: int = 4
    """Transformer layers; 12 in the base size."""
    width: int = 64
    """Of the hidden states; 768 in the base size."""
    heads: int | None = None
    """Of attention; without it one for 16 units of width, for 64 from a width of 256 on."""
    vocab: int = 8000
    """Word pieces at the most."""
    positions: int = 512
    """Tokens of the longest input."""
    seed: int = 0
    """Of the weights; equal seeds give equal files."""
    out: str = "data/models"
    """Folder of the models."""
    force: bool = False
    """Replace the folder if it holds another untrained model."""


def main(cfg: Config) -> dict[str, Any]:
    """What the model's source.json says: options, SHA-256 sums.

    Raises:
        UserError: if the corpus is not prepared, the sizes do not fit, or the folder holds
            something else.
    """
    from lib import text

    if not cfg.name or Path(cfg.name).name != cfg.name or cfg.name.startswith("."):
        raise UserError(f"--name {cfg.name!r} is no name of a folder below {cfg.out}")
    data, folder = Path(cfg.data), Path(cfg.out) / cfg.name
    meta = text.read_meta(data)
    frame = text.read_split(data, "train")
    texts = [t for name in ("premise", "hypothesis") if name in frame for t in frame[name].unique()]
    names = ("layers", "width", "heads", "vocab", "positions", "seed")
    options = Options(**{name: getattr(cfg, name) for name in names})
    trained_on = meta["fingerprint"]
    source, kept = make(folder, texts, trained_on=trained_on, options=options, force=cfg.force)
    if kept:
        print(f"{folder} is there and unchanged")
        return source
    size_mb = (folder / "model.safetensors").stat().st_size / 1e6
    print(f"{folder}: an untrained BERT, {cfg.layers} layers of {cfg.width}, {size_mb:.1f} MB")
    return source


if __name__ == "__main__":
    _cli.run(main, Config)
