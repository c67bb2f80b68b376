"""Make an untrained HuBERT, or wav2vec 2.0, of any size: to try things, or to train from zero."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lib.errors import UserError
from lib.scratch_hubert import Options, make
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options. Random convolutions say nothing of speech: let them learn (they are not frozen)."""

    name: str
    """Folder below --out."""
    kind: Literal["hubert", "wav2vec2"] = "hubert"
    """Model type."""
    layers: int = 4
    """Transformer layers; 12 in the base size."""
    width: int = 64
    """Of the hidden states; 768 in the base size."""
    heads: int | None = None
    """Of attention; without it one for 64 units of width, four at least."""
    conv: Literal["tiny", "base"] = "tiny"
    """Convolutions: tiny has four narrow layers (25 frames/s), base the published seven of 512."""
    pre_norm: bool = False
    """The large family: layer norm before each block, and in every convolution."""
    seed: int = 0
    """Of the weights; equal seeds give equal files."""
    out: Path = Path("data/models")
    """Folder of the models."""
    force: bool = False
    """Replace the folder if it holds another untrained model."""


def main(cfg: Config) -> dict[str, Any]:
    """What the model's source.json says: options, SHA-256 sums.

    Raises:
        UserError: if the sizes do not fit, or the folder holds something else.
    """
    if not cfg.name or Path(cfg.name).name != cfg.name or cfg.name.startswith("."):
        raise UserError(f"--name {cfg.name!r} is no name of a folder below {cfg.out}")
    options = Options(
        kind=cfg.kind,
        layers=cfg.layers,
        width=cfg.width,
        heads=cfg.heads,
        conv=cfg.conv,
        pre_norm=cfg.pre_norm,
        seed=cfg.seed,
    )
    folder = cfg.out / cfg.name
    source, kept = make(folder, options=options, force=cfg.force)
    if kept:
        print(f"{folder} is there and unchanged")
        return source
    size_mb = (folder / "model.safetensors").stat().st_size / 1e6
    print(
        f"{folder}: an untrained {cfg.kind}, {cfg.layers} layers of {cfg.width}, {size_mb:.1f} MB"
    )
    return source


if __name__ == "__main__":
    _cli.run(main, Config)
