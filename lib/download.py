"""Files from the internet: resumed, verified, made safe. Whole models are lib/hub.py's work."""

import contextlib
import hashlib
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lib import files
from lib.errors import UserError

Progress = Callable[[int, int | None], None]  # bytes that are there, bytes in all if known

TRIES = 4  # in a row that bring nothing new
BACKOFF_S = 0.5  # doubles with each of them
TIMEOUT_S = 30.0
PASSING = {408, 425, 429, 500, 502, 503, 504}


def fetch(
    url: str,
    path: Path,
    *,
    md5: str | None = None,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    by_hand: str | None = None,
    force: bool = False,
) -> bool:
    """Whether anything had to be downloaded; afterwards `path` is there, whole and verified.

    An interrupted download goes on where it stopped, in another process too: what came is kept
    beside `path` as NAME.part.

    Args:
        url: an http or https address.
        path: the file to make; one that is there with the right hash is kept.
        md5: the expected hash, in hex.
        sha256: the expected hash, in hex.
        headers: of the request, such as an authorization.
        progress: called with the bytes that are there and the bytes in all (None if unknown).
        by_hand: ends an error's line: how to get the file there without this function.
        force: replace a file whose hash is wrong, or that has none to compare with.

    Raises:
        UserError: if the download fails, brings other bytes than expected, or would replace a
            file that has another hash.
    """
    by_hand = by_hand or f"or get it another way and put it at {path}"
    known = {name: value.lower() for name, value in (("md5", md5), ("sha256", sha256)) if value}
    with files.locked(path.parent / ".lock", wait=True):
        if path.exists():
            wrong = _wrong(path, known)
            if not wrong and (known or not force):
                return False
            if not force:
                raise UserError(f"{path} has {wrong}; move it away, or replace it with --force")
        job = _Job(url, path.with_name(path.name + ".part"), bool(known), headers or {}, progress)
        joined = _fill(job, by_hand)
        wrong = _wrong(job.part, known)
        if wrong and joined:  # perhaps of two versions of the file: worth one more download
            job.part.unlink()
            _fill(job, by_hand)
            wrong = _wrong(job.part, known)
        if wrong:
            job.part.unlink()
            job.note.unlink(missing_ok=True)
            raise UserError(f"{url} brought {wrong}, so it was thrown away; {by_hand}")
        with files.staged_file(path) as temporary:
            job.part.rename(temporary)
        job.note.unlink(missing_ok=True)
    return True


def to_safetensors(sources: Sequence[Path], target: Path) -> None:
    """Write the tensors of PyTorch's `.bin` files as one safetensors file; nothing in them is run.

    Names, values and dtypes stay. Of a tensor with two names (tied embeddings) the first is kept:
    that is the encoder's, and transformers ties the rest again at loading.

    Args:
        sources: `.bin` files.
        target: within `files.staged_file`, which tells a full disk as such.

    Raises:
        UserError: if a file holds anything but named tensors.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    for source in sources:
        tensors |= _tensors(source)
    seen: dict[int, tuple[Any, ...]] = {}
    kept = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr() if tensor.numel() else 0
        view = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if storage and seen.get(storage) == view:
            continue
        kept[name] = (tensor.clone() if storage in seen else tensor).contiguous()
        if storage:
            seen.setdefault(storage, view)
    save_file(kept, target, metadata={"format": "pt"})


def check_safetensors(path: Path) -> None:
    """Read the header of a safetensors file.

    Raises:
        UserError: if the file is something else, or not whole.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except (OSError, SafetensorError) as error:
        message = f"{path} is not a whole safetensors file ({error})"
        raise UserError(f"{message}; delete it and download it again") from None


def _tensors(source: Path) -> dict[str, Any]:
    import torch

    try:  # files older than torch 1.6 are not zips and cannot be mapped
        mmap = zipfile.is_zipfile(source)
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a damaged or hostile pickle may raise anything
        why = (str(error) or type(error).__name__).splitlines()[0]
        message = f"{source} is not a plain file of weights ({why})"
        raise UserError(f"{message}; nothing in it was run, choose another model") from None
    if not isinstance(state, dict):
        raise UserError(f"{source} holds no named tensors; choose another model")
    for name, value in state.items():
        plain = isinstance(value, torch.Tensor) and value.layout is torch.strided
        if not isinstance(name, str) or not plain:
            raise UserError(f"{source} holds something else than tensors at {name!r:.80}")
    return state


@dataclass(frozen=True)
class _Job:
    url: str
    part: Path
    verified: bool  # a hash will tell whether pieces belong together
    headers: Mapping[str, str] = field(default_factory=dict)
    progress: Progress | None = None

    @property
    def note(self) -> Path:  # of which version `part` is a part
        return self.part.with_name(self.part.name + ".json")

    @property
    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0


def _wrong(path: Path, known: Mapping[str, str]) -> str | None:
    for name, expected in known.items():
        with path.open("rb") as file:
            new = partial(hashlib.new, name, usedforsecurity=False)
            found = hashlib.file_digest(file, new).hexdigest()
        if found != expected:
            return f"{name.upper()} {found} and not {expected}"
    return None


def _fill(job: _Job, by_hand: str) -> bool:
    """Whether `job.part`, which is complete now, was joined from several answers."""
    import httpx

    failures, joined = 0, job.size > 0
    while True:
        before = job.size
        try:
            return _attempt(job) and joined
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            joined |= job.size > 0
            failures = 1 if job.size > before else failures + 1
            why, passing = _reason(error)
            if not passing or failures == TRIES:
                message = f"could not download {job.url}: {why}"
                again = "; run it again to go on where it stopped," if passing else ";"
                raise UserError(f"{message}{again} {by_hand}") from None
        except OSError as error:
            where = error.filename or job.part
            message = f"{where}: {error.strerror or error}; mend that and run it again"
            raise UserError(f"{message}, what came is kept") from None
        time.sleep(BACKOFF_S * 2 ** (failures - 1))


def _reason(error: Exception) -> tuple[str, bool]:
    """What went wrong, in a few words, and whether it may pass."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        status, phrase = error.response.status_code, error.response.reason_phrase
        return f"HTTP {status} {phrase}".strip(), status in PASSING
    why = (str(error) or type(error).__name__).splitlines()[0]
    lasting = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
    return why, isinstance(error, httpx.TransportError) and not isinstance(error, lasting)


def _attempt(job: _Job) -> bool:
    """Whether the server went on where `job.part` ends; one request, and what comes is kept."""
    import httpx

    start, version = job.size, None
    ask = {**job.headers, "Accept-Encoding": "identity"}  # ranges count the bytes that are sent
    if start and job.note.exists():
        with contextlib.suppress(UserError):  # a damaged note tells of no version
            seen = files.read_json(job.note, {"url": str, "version": (str, None)})
            version = seen["version"] if seen["url"] == job.url else None
    if start and (version or job.verified):
        ask |= {"Range": f"bytes={start}-"} | ({"If-Range": version} if version else {})
    timeout = httpx.Timeout(TIMEOUT_S, connect=TIMEOUT_S / 3)
    with httpx.stream("GET", job.url, headers=ask, timeout=timeout, follow_redirects=True) as got:
        span = got.headers.get("Content-Range", "")
        if got.status_code == 416 and span == f"bytes */{start}":
            return True  # all was there, only the renaming was missing
        joined = got.status_code == 206
        if got.status_code == 416 or (joined and not span.startswith(f"bytes {start}-")):
            job.part.unlink(missing_ok=True)
            raise httpx.ReadError("the server sent another range than asked for")
        got.raise_for_status()
        plain = got.headers.get("Content-Encoding", "identity") == "identity"
        length = got.headers.get("Content-Length") if plain else None
        done = start if joined else 0
        total = done + int(length) if length else None
        with job.part.open("ab" if joined else "wb") as out:
            if not joined:
                files.write_json(job.note, {"url": job.url, "version": _version(got.headers)})
            for chunk in got.iter_bytes():
                out.write(chunk)
                done += len(chunk)
                if job.progress:
                    job.progress(done, total)
    if total is not None and done != total:
        raise httpx.ReadError(f"{done} of {total} bytes came")
    return joined


def _version(headers: Mapping[str, str]) -> str | None:
    """What If-Range may ask for: a strong ETag, else the date of the last change."""
    if headers.get("Content-Encoding", "identity") != "identity":
        return None
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if etag.startswith("W/") else etag
