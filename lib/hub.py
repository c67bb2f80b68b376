"""Pretrained models from a Hugging Face hub, as local folders that need no internet."""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib import files
from lib.download import Progress, check_safetensors, fetch, to_safetensors
from lib.errors import UserError

DEFAULT = "HooshvareLab/bert-fa-base-uncased"
HUBERT = "facebook/hubert-base-ls960"

REVISIONS = {
    # Source: the models' own histories, huggingface.co/ID/commits. What was committed later
    # only adds weights for Flax; those for PyTorch date from September 2020 and February 2021.
    "HooshvareLab/bert-fa-base-uncased": "26d145e7c1845d2280649055763ac0d83344bf3f",
    "HooshvareLab/bert-fa-zwnj-base": "bf932c736f0981b77e80193a96f2c76938fea64f",
    # Source: the revisions that mteb evaluates (github.com/embeddings-benchmark/mteb).
    "HooshvareLab/bert-base-parsbert-uncased": "d73a0e2c7492c33bd5819bcdb23eba207404dd19",
    "PartAI/TookaBERT-Base": "fa5ca89df5670700d9325b8872ac65c17cb24582",
    "sbunlp/fabert": "a0e3973064c97768e121b9b95f21adc94e0ca3fb",
    "facebook/wav2vec2-base": "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
    "facebook/wav2vec2-xls-r-300m": "1a640f32ac3e39899438a2931f9924c02f080a54",
    "microsoft/wavlm-base": "efa81aae7ff777e464159e0f877d54eac5b84f81",
    "microsoft/wavlm-base-plus": "4c66d4806a428f2e922ccfa1a962776e232d487b",
    # Source: pinned alike by many unrelated projects on GitHub; for hubert-base with the
    # weights' sum 062249fffb353eab67547a2fbc129f7c31a2f459faf641b19e8fb007cc5c48ad.
    "facebook/hubert-base-ls960": "dba3bb02fda4248b6e082697eee756de8fe8aa8a",
    "facebook/hubert-large-ll60k": "ff022d095678a2995f3c49bab18a96a9e553f782",
    "FacebookAI/xlm-roberta-base": "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089",
    "FacebookAI/xlm-roberta-large": "c23d21b0620b635a76227c604d44e43a9f0ee389",
    "google-bert/bert-base-multilingual-cased": "3f076fdb1ab68d5b2880cb87a0886f315b8146f8",
    "bert-base-multilingual-cased": "3f076fdb1ab68d5b2880cb87a0886f315b8146f8",
}

VOCABULARIES = {
    *("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model"),
    "preprocessor_config.json",  # for speech
}
SMALL = {"config.json", "tokenizer_config.json", "merges.txt", "special_tokens_map.json"}
SMALL |= VOCABULARIES | {"added_tokens.json"}
FAMILIAR = {"bert", "roberta", "xlm-roberta", "hubert", "wav2vec2", "wavlm"}


def local_name(model_id: str) -> str:
    """The name of the one folder that holds a hub's model: "owner/name" gives "owner--name".

    Raises:
        UserError: if it is not an id that a hub can have.
    """
    word = r"[A-Za-z0-9_](?:[\w.-]*\w)?"
    if not re.fullmatch(rf"(?!.*(--|\.\.))({word}/)?{word}", model_id, re.ASCII):
        raise UserError(f"{model_id!r} is not a model's id; one looks like {DEFAULT}")
    return model_id.replace("/", "--")


def model(
    model_id: str,
    folder: Path,
    *,
    revision: str,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What `folder`/source.json says: id, revision, commit, format of the weights, SHA-256 sums.

    Afterwards the folder holds configuration, tokenizer and weights as safetensors, loads
    without internet and contains no code. Files that a user put there by hand are checked,
    converted and kept; so is a folder that was made before, which needs no internet.

    Args:
        model_id: as the hub writes it, "owner/name".
        folder: the folder to make, whole or not at all.
        revision: a commit, tag or branch; see REVISIONS.
        force: replace the folder if it is there.
        progress: called with the bytes that are there and the bytes in all, file after file.

    Raises:
        UserError: if it cannot be had, is damaged, needs code of its own, or if the folder holds
            something else.
    """
    local_name(model_id)
    about: dict[str, Any] = {"id": model_id, "revision": revision, "commit": None}
    with files.locked(folder.parent / f".{folder.name}.lock", wait=True):
        _sweep(folder)
        if not force and (folder / "source.json").exists():
            return _kept(folder, about)
        if not force and folder.exists() and any(folder.iterdir()):  # placed by hand
            return _install(_gather(str(folder), *_listing(folder)), folder, about)
        by_hand = (
            "or put config.json, the tokenizer's files or preprocessor_config.json, and "
            "model.safetensors or pytorch_model.bin of https://huggingface.co/"
            f"{model_id}/tree/{revision} into {folder} and run it again"
        )
        with _one_line(f"could not download {model_id} at {revision}", by_hand):
            about["commit"], found = _from_hub(model_id, revision, by_hand, progress)
        with files.staged_folder(folder) as stage:
            return _install(found, stage, about)


def _sweep(folder: Path) -> None:
    """Remove what a killed process left beside `folder`; the caller holds the lock."""
    for entry in folder.parent.glob(".*"):
        rest = entry.name.removeprefix(f".{folder.name}.")
        if re.fullmatch("[a-z0-9_]{8}", rest) and entry.is_dir():
            files.remove(entry)


def _kept(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    source = files.read_json(folder / "source.json")
    try:
        same = source["id"] == about["id"]
        same &= about["revision"] in (source["revision"], source["commit"])
        sums = dict(source["files"])
    except (TypeError, KeyError, ValueError):
        raise UserError(f"{folder}/source.json is damaged; --force makes it again") from None
    if not same:
        there, asked = (f"{it['id']} at {it['revision']}" for it in (source, about))
        message = f"{folder} holds {there}, not {asked}"
        raise UserError(f"{message}; replace it with --force or choose another --out")
    for name, expected in sums.items():
        path = folder / Path(name).name
        if not path.is_file() or files.sha256(path) != expected:
            raise UserError(f"{path} is not what was downloaded; --force downloads it again")
    return source


@contextlib.contextmanager
def _one_line(message: str, by_hand: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
        return
    except errors.GatedRepoError:
        why = "it is gated; ask for access on its page and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        why = "the hub has no such model, or it is private (set HF_TOKEN)"
    except errors.RevisionNotFoundError:
        why = "it has no such revision"
    except errors.OfflineModeIsEnabled:
        why = "HF_HUB_OFFLINE is set and the cache does not have it"
    except (errors.HTTPError, OSError, ValueError, TypeError, KeyError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    raise UserError(f"{message}: {why}; {by_hand}")


def _from_hub(
    model_id: str, revision: str, by_hand: str, progress: Progress | None
) -> tuple[str, dict[str, Path]]:
    """The commit, and the model's files in the hub's cache below HF_HOME."""
    from huggingface_hub import HfApi, constants, errors, hf_hub_download, hf_hub_url, utils
    from huggingface_hub import try_to_load_from_cache as cached
    from huggingface_hub.file_download import repo_folder_name

    try:
        info = HfApi().model_info(model_id, revision=revision, files_metadata=True, timeout=30)
    except Exception as error:  # being offline has many names
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code < 500:
            raise
        config = cached(model_id, "config.json", revision=revision)
        snapshot = Path(config).parent if isinstance(config, str) else None
        if snapshot is None or not any((snapshot / name).exists() for name in VOCABULARIES):
            raise
        return snapshot.name, _gather(model_id, *_listing(snapshot))
    if re.fullmatch("[0-9a-f]{40}", revision) and info.sha != revision:
        raise ValueError(f"the hub answers with commit {info.sha}; check HF_ENDPOINT")
    entries = {entry.rfilename: entry.lfs for entry in info.siblings or ()}
    blobs = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=model_id, repo_type="model"))

    def get(name: str) -> Path:
        large = entries[name]
        if large and not isinstance(cached(model_id, name, revision=info.sha), str):
            if not re.fullmatch("[0-9a-f]{64}", large.sha256):
                raise ValueError(f"{name} has no valid SHA-256 at the hub")
            # into its cache, where the hub's client finds it: by itself it does not resume
            fetch(
                hf_hub_url(model_id, name, revision=info.sha),
                blobs / "blobs" / large.sha256,
                sha256=large.sha256,
                headers=utils.build_hf_headers(),
                progress=progress,
                by_hand=by_hand,
                force=True,
            )
        silent: Any = utils.silent_tqdm
        return Path(hf_hub_download(model_id, name, revision=info.sha, tqdm_class=silent))

    return str(info.sha), _gather(model_id, set(entries), get)


def _listing(folder: Path) -> tuple[set[str], Callable[[str], Path]]:
    return {entry.name for entry in folder.iterdir()}, lambda name: folder / name


def _gather(where: str, names: set[str], get: Callable[[str], Path]) -> dict[str, Path]:
    """The files that make the model, each fetched; the configuration is checked before weights."""
    if "config.json" not in names:
        raise UserError(f"{where} has no config.json, so it is not a model for transformers")
    found = {name: get(name) for name in sorted(SMALL & names)}
    _check_config(where, found["config.json"])
    for single in ("model.safetensors", "pytorch_model.bin"):
        index = f"{single}.index.json"
        if single in names:
            return found | {single: get(single)}
        if index in names:
            found[index] = get(index)
            return found | {name: get(name) for name in _shards(where, found[index], names)}
    message = f"{where} has no model.safetensors and no pytorch_model.bin"
    raise UserError(f"{message}; only PyTorch weights are read")


def _check_config(where: str, path: Path) -> None:
    config = files.read_json(path)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        raise UserError(f"{where}: config.json names no model_type, so nothing can load it")
    if kind in FAMILIAR:
        return
    from transformers import CONFIG_MAPPING  # takes seconds

    if kind not in CONFIG_MAPPING:
        why = "needs code of its own, which is never run" if "auto_map" in config else "is unknown"
        message = f"{where}: model_type {kind!r:.60} {why}"
        raise UserError(f"{message}; choose a model of transformers itself")


def _shards(where: str, index: Path, names: set[str]) -> Sequence[str]:
    ending = index.name.removesuffix(".index.json").partition(".")[2]
    try:
        shards = sorted(set(files.read_json(index)["weight_map"].values()))
        safe = all(re.fullmatch(rf"[\w.-]+\.{ending}", name) for name in shards)
    except (AttributeError, KeyError, TypeError):
        shards, safe = [], False
    if not (shards and safe and names.issuperset(shards)):
        raise UserError(f"{where}: {index.name} does not list files that are there")
    return shards


def _install(found: Mapping[str, Path], folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Copy or convert into `folder`, write source.json and return what it says."""
    for path in found.values():
        blob = path.resolve().name  # the hub's cache names large files by their SHA-256
        if re.fullmatch("[0-9a-f]{64}", blob) and files.sha256(path) != blob:
            raise UserError(f"{path} is damaged; delete it and run it again")
    pickled = {name: path for name, path in found.items() if name.endswith(".bin")}
    made = [name for name in found if name in SMALL or not pickled]
    for name in made:
        if found[name] != folder / name:
            shutil.copyfile(found[name], folder / name)
    if pickled:
        made.append("model.safetensors")
        with files.staged_file(folder / "model.safetensors") as temporary:
            to_safetensors(list(pickled.values()), temporary)
        about["published"] = {name: files.sha256(path) for name, path in pickled.items()}
    about["format"] = "bin" if pickled else "safetensors"
    about["files"] = {name: files.sha256(folder / name) for name in sorted(made)}
    for name in made:
        if name.endswith(".safetensors"):
            check_safetensors(folder / name)
    files.write_json(folder / "source.json", about)
    return about
