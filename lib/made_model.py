"""Model folders that this project makes itself: whole or absent, and what they were made of."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib import files
from lib.errors import UserError


def make(
    folder: Path,
    write: Callable[[Path], None],
    *,
    made_by: str,
    options: Mapping[str, Any],
    force: bool = False,
) -> tuple[dict[str, Any], bool]:
    """What `folder`/source.json says, and whether the folder was there already, unchanged.

    Args:
        folder: the folder to make, whole or not at all.
        write: writes the model's files into a folder.
        made_by: what makes it, such as scratch-bert; a folder of anything else is never touched.
        options: all that determines the files; equal options need nothing done.
        force: replace a folder that was made with other options.

    Raises:
        UserError: if the folder holds something else, is damaged, or was made with other options.
    """
    with files.locked(folder.parent / f".{folder.name}.lock", wait=True):
        kept = there(folder, made_by=made_by, options=options, force=force)
        if kept is not None:
            return kept, True
        with files.staged_folder(folder) as stage:
            write(stage)
            names = sorted(path.name for path in stage.iterdir())
            source = {"id": None, "made_by": made_by, "options": dict(options)}
            source["files"] = {name: files.sha256(stage / name) for name in names}
            files.write_json(stage / "source.json", source)
    return source, False


def there(
    folder: Path, *, made_by: str, options: Mapping[str, Any], force: bool = False
) -> dict[str, Any] | None:
    """What `folder`/source.json says if it is there and unchanged; None if it is to be made.

    Raises:
        UserError: as `make` does.
    """
    source = _source(folder, made_by)
    return _kept(folder, source, options) if folder.exists() and not force else None


def _source(folder: Path, made_by: str) -> dict[str, Any]:
    """What source.json says, {} if it is damaged; nothing but an untrained model is touched."""
    if not folder.exists():
        return {}
    ours = (folder / "source.json").is_file()
    try:
        source = files.read_json(folder / "source.json") if ours else {}
    except UserError:
        return {}
    if not ours or (isinstance(source, dict) and source.get("made_by") != made_by):
        raise UserError(f"{folder} holds something else; choose another --name")
    return source if isinstance(source, dict) else {}


def _kept(folder: Path, source: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    there, sums = source.get("options"), source.get("files")
    if not (isinstance(there, dict) and isinstance(sums, dict) and sums):
        raise UserError(f"{folder}/source.json is damaged; --force makes it again")
    if there != asked:
        differ = [key for key in asked if there.get(key) != asked[key]]
        was = ", ".join(f"{key} {there.get(key)}, not {asked[key]}" for key in differ)
        raise UserError(f"{folder} was made with {was}; --force replaces it, or choose a --name")
    for name, expected in sums.items():
        path = folder / Path(name).name
        if not path.is_file() or files.sha256(path) != expected:
            raise UserError(f"{path} is not what was made; --force makes it again")
    return source
