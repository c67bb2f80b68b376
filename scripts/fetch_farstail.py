"""Download FarsTail's three files from its authors' repository and verify them."""

from dataclasses import dataclass
from pathlib import Path

from lib.download import fetch
from lib.errors import UserError
from scripts import _cli

# Source: Amirkhani et al. 2023, doi 10.1007/s00500-023-08959-3; github.com/dml-qom/FarsTail,
# folder data (Apache-2.0). MD5 sums of these files.
MD5 = {
    "Train-word.csv": "b25152d69420fa9543d2e3155c91a046",
    "Val-word.csv": "6686f1ff8dd0a64b519466589a686ec9",
    "Test-word.csv": "52a1d46748dbb928062327e93ebae730",
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Download FarsTail, a Persian inference corpus of 10367 pairs (4.5 MB)."""

    out: str = "data/raw/farstail"
    """Folder to put the files into; files that are there and right are kept."""
    url: str = "https://raw.githubusercontent.com/dml-qom/FarsTail/master/data"
    """Where the files are, without their names."""
    force: bool = False
    """Replace files that are there with other contents."""


def main(cfg: Config) -> Path:
    """The folder that holds the three files."""
    folder = Path(cfg.out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose another folder with --out")
    base = cfg.url.rstrip("/")
    by_hand = (
        f"or put {', '.join(MD5)} of https://github.com/dml-qom/FarsTail, folder data, "
        f"into {folder}"
    )
    new = []
    for name, md5 in MD5.items():
        with _cli.progress_bar("B", label=name) as progress:
            if fetch(
                f"{base}/{name}",
                folder / name,
                md5=md5,
                progress=progress,
                by_hand=by_hand,
                force=cfg.force,
            ):
                new.append(name)
    what = f"downloaded {', '.join(new)}" if new else "all three files were there"
    print(f"{folder}: {what}, MD5 right")
    return folder


if __name__ == "__main__":
    _cli.run(main, Config)
