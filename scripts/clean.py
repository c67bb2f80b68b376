"""List what this project made under data/ and runs/, with sizes, and delete what is named."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lib import files
from scripts import _cli

# What can be deleted; what the user put into data/raw is never touched.
KINDS = {
    "tokens": "data/prepared/*/tokens",
    "prepared": "data/prepared/*",
    "models": "data/models/*",
    "cache": "data/cache/*",
    "checkpoints": "runs/*/*/*/checkpoints",
    "runs": "runs/*/*",
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """List what was made under data/ and runs/, with sizes, and delete what is named."""

    delete: Literal["tokens", "prepared", "models", "cache", "checkpoints", "runs"] | None = None
    """What to delete; without it, nothing is."""
    root: str = "."
    """Folder that holds data/ and runs/."""


def main(cfg: Config) -> int:
    """The bytes that were deleted."""
    freed = 0
    for kind, pattern in KINDS.items():
        for path in sorted(Path(cfg.root).glob(pattern)):
            if not path.is_dir():
                continue
            size = files.size_bytes(path)
            gone = kind == cfg.delete
            print(f"{size / 1e6:10.1f} MB  {kind:<12} {path}{'  deleted' if gone else ''}")
            if gone:
                files.remove(path)
                freed += size
    print(f"{freed / 1e6:10.1f} MB  deleted")
    return freed


if __name__ == "__main__":
    _cli.run(main, Config)
