"""Downloads against a server on loopback: nothing here needs the internet."""

import contextlib
import hashlib
import http.server
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib import download, hub
from lib.download import fetch
from lib.errors import UserError

ROOT = Path(__file__).parent.parent
BODY = bytes(range(256)) * 4096  # 1 MiB
MD5 = hashlib.md5(BODY).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "somebody/tiny-bert"


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path; the other fields make it misbehave."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.errors: dict[str, tuple[int, str]] = {}  # path -> status, X-Error-Code
        self.redirects: dict[str, str] = {}
        self.failures: list[int] = []  # statuses of the next answers
        self.cuts: list[int] = []  # bytes after which the next answers break off
        self.ranges = True
        self.pause_s = 0.0  # after each 64 KiB of the weights, or of /file
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def spans(self) -> list[str | None]:
        return [headers.get("range") for verb, _, headers in self.asked if verb == "GET"]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, path = self.server, self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        server.asked.append((self.command, path, headers))
        status, code = server.errors.get(path, (404, "EntryNotFound"))
        if server.failures and self.command == "GET":
            status = server.failures.pop(0)
        elif path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[path])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        elif path in server.files:
            return self.send_file(server.files[path], server.headers.get(path, {}))
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    do_HEAD = do_GET

    def send_file(self, body: bytes, headers: dict[str, str]) -> None:
        server, start = self.server, 0
        etag = headers.get("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if span and server.ranges and self.headers.get("If-Range", etag) == etag:
            start = int(span[1])
        if span and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        for name, value in ({"ETag": etag} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        rest = body[start:]
        if server.cuts:
            rest = rest[: server.cuts.pop(0)]
        for i in range(0, len(rest), 1 << 16):
            with contextlib.suppress(ConnectionError):  # the client may be killed
                self.wfile.write(rest[i : i + (1 << 16)])
            time.sleep(server.pause_s if self.path.endswith((".safetensors", "/file")) else 0)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "BACKOFF_S", 0.001)
    with Server() as running:
        running.files["/file"] = BODY
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - {".lock"}


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# fetch


def test_fetched_file_is_whole_with_plain_permissions(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = tmp_path / "new" / "file"
    assert fetch(f"{server.url}/file", path, md5=MD5, progress=lambda *now: seen.append(now))
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert names(path.parent) == {"file"}


@pytest.mark.parametrize("md5", [MD5, None])
def test_interrupted_download_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, md5: str | None
) -> None:
    server.cuts = [300_000, 100_000]
    assert fetch(f"{server.url}/file", tmp_path / "file", md5=md5)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.spans() == [None, "bytes=300000-", "bytes=400000-"]
    assert names(tmp_path) == {"file"}


def test_download_that_failed_is_resumed_by_the_next_call(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.cuts = [300_000]
    monkeypatch.setattr(download, "TRIES", 1)
    with pytest.raises(UserError, match="run it again"):
        fetch(f"{server.url}/file", tmp_path / "file")
    assert names(tmp_path) == {"file.part", "file.part.json"}
    assert fetch(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.spans() == [None, "bytes=300000-"]


def test_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.cuts, server.ranges = [300_000], False
    assert fetch(f"{server.url}/file", tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"new"', 'W/"weak"'])
def test_pieces_of_two_versions_are_never_joined(server: Server, tmp_path: Path, etag: str) -> None:
    """With a strong ETag the server tells; with a weak one only the hash can."""
    old = b"old" * 200_000
    (tmp_path / "file.part").write_bytes(old)
    note = {"url": f"{server.url}/file", "version": '"old"' if etag == '"new"' else None}
    (tmp_path / "file.part.json").write_text(json.dumps(note))
    server.headers["/file"] = {"ETag": etag}
    assert fetch(f"{server.url}/file", tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == BODY


def test_part_without_version_or_hash_is_not_trusted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"of something else")
    assert fetch(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.spans() == [None]


@pytest.mark.parametrize("extra", [b"", b"too much"])
def test_part_that_is_complete_or_too_long_is_mended(
    server: Server, tmp_path: Path, extra: bytes
) -> None:
    (tmp_path / "file.part").write_bytes(BODY + extra)
    assert fetch(f"{server.url}/file", tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == BODY


def test_passing_errors_are_tried_again_and_lasting_ones_are_not(
    server: Server, tmp_path: Path
) -> None:
    server.failures = [503, 429]
    assert fetch(f"{server.url}/file", tmp_path / "file")
    with pytest.raises(UserError, match="HTTP 404") as error:
        fetch(f"{server.url}/none", tmp_path / "none", by_hand="put it there yourself")
    assert one_line(error).endswith("; put it there yourself")
    assert len(server.asked) == 4
    server.failures = [503] * 9
    with pytest.raises(UserError, match=r"HTTP 503.*run it again"):
        fetch(f"{server.url}/file", tmp_path / "other")
    assert len(server.asked) == 4 + download.TRIES


def test_wrong_bytes_are_thrown_away(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"brought MD5 {MD5} and not {'0' * 32}") as error:
        fetch(f"{server.url}/file", tmp_path / "file", md5="0" * 32)
    assert str(tmp_path / "file") in one_line(error)
    assert names(tmp_path) == set()


def test_right_file_is_kept_and_wrong_one_is_replaced_only_by_force(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    assert not fetch(f"{server.url}/file", path, md5=MD5, force=True)
    assert not fetch(f"{server.url}/file", path)
    assert server.asked == []
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match=rf"{path} has MD5 .* and not {MD5}.*--force") as error:
        fetch(f"{server.url}/file", path, md5=MD5)
    assert one_line(error)
    assert path.read_bytes() == b"mine"
    assert fetch(f"{server.url}/file", path, md5=MD5, force=True)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "file", "http://bad host/", "http://["])
@pytest.mark.usefixtures("server")
def test_unreachable_address_says_how_to_do_without(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="put it at") as error:
        fetch(url, tmp_path / "file")
    assert str(tmp_path / "file") in one_line(error)


def test_full_disk_is_one_line_and_keeps_what_came(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(done: int, total: int | None) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device") as error:
        fetch(f"{server.url}/file", tmp_path / "file", progress=full)
    assert "file.part" in one_line(error)
    assert fetch(f"{server.url}/file", tmp_path / "file", md5=MD5)
    assert server.spans()[-1] is not None


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    server.pause_s = 0.01
    threads = [
        threading.Thread(target=fetch, args=(f"{server.url}/file", tmp_path / "file"))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() == BODY
    assert len(server.asked) == 1


def test_token_is_not_sent_on_to_another_host(server: Server, tmp_path: Path) -> None:
    server.redirects["/elsewhere"] = f"{server.url.replace('127.0.0.1', 'localhost')}/file"
    server.cuts = [300_000]
    secret = {"authorization": "Bearer secret"}
    assert fetch(f"{server.url}/elsewhere", tmp_path / "file", md5=MD5, headers=secret)
    assert (tmp_path / "file").read_bytes() == BODY
    sent = [(path, headers.get("authorization")) for _, path, headers in server.asked]
    assert sent == [("/elsewhere", "Bearer secret"), ("/file", None)] * 2
    assert server.spans()[-1] == "bytes=300000-"


# FarsTail


def test_farstail_is_fetched_once_and_verified(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from scripts import fetch_farstail

    for name in fetch_farstail.MD5:
        server.files[f"/data/{name}"] = BODY
        monkeypatch.setitem(fetch_farstail.MD5, name, MD5)
    cfg = fetch_farstail.Config(out=str(tmp_path / "farstail"), url=f"{server.url}/data/")
    assert fetch_farstail.main(cfg) == tmp_path / "farstail"
    assert names(tmp_path / "farstail") == {"Train-word.csv", "Val-word.csv", "Test-word.csv"}
    assert fetch_farstail.main(cfg)
    assert len(server.asked) == 3
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "all three files were there" in lines[1]


def test_farstail_with_wrong_bytes_is_one_line_and_leaves_nothing(
    server: Server, tmp_path: Path
) -> None:
    server.files["/Train-word.csv"] = b"premise\thypothesis\tlabel\n"
    done = script("fetch_farstail", "--out", str(tmp_path), "--url", server.url, env={})
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: .*MD5 .* and not b25152d6.*github.com/dml-qom.*\n", done.stderr)
    assert names(tmp_path) == set()


def script(name: str, *options: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"scripts.{name}", *options]
    env = {**os.environ, **env}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


# models


@pytest.fixture(scope="module")
def tiny() -> Any:
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    return transformers.BertForMaskedLM(config).eval()


@pytest.fixture
def the_hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Points the hub's client, which reads its variables at import, to loopback."""
    from huggingface_hub import constants

    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return server


def publish(server: Server, files: dict[str, bytes], revision: str = COMMIT) -> None:
    siblings: list[dict[str, Any]] = []
    for name, body in files.items():
        sha256 = hashlib.sha256(body).hexdigest()
        git = hashlib.sha1(body).hexdigest()
        large = name.endswith((".bin", ".safetensors"))
        lfs = {"sha256": sha256, "size": len(body), "pointerSize": 1}
        siblings.append({"rfilename": name, "size": len(body), "blobId": git})
        if large:
            siblings[-1]["lfs"] = lfs
        path = f"/{MODEL}/resolve/{COMMIT}/{name}"
        server.files[path] = body
        etag = f'"{sha256 if large else git}"'
        server.headers[path] = {"ETag": etag, "X-Repo-Commit": COMMIT}
    info = {"id": MODEL, "sha": COMMIT, "siblings": siblings}
    server.files[f"/api/models/{MODEL}/revision/{revision}"] = json.dumps(info).encode()


def contents(model: Any, folder: Path, *, weights: str) -> dict[str, bytes]:
    """What a repository of this model holds, its weights as `weights` says."""
    import torch

    model.save_pretrained(folder)
    state = model.state_dict()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    if weights != "safetensors":
        (folder / "model.safetensors").unlink()
        legacy = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): value
            for name, value in state.items()
        }
        torch.save(
            legacy, folder / "pytorch_model.bin", _use_new_zipfile_serialization=weights == "zip"
        )
    found = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    return found | {"modeling_evil.py": b"raise SystemExit", "tf_model.h5": b"not wanted"}


def outputs(folder: Path) -> Any:
    import torch
    import transformers

    encoder = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        return encoder(input_ids=torch.arange(40)[None]).last_hidden_state


@pytest.mark.parametrize("weights", ["safetensors", "zip", "before torch 1.6"])
def test_model_becomes_a_local_folder_with_the_same_outputs(
    the_hub: Server, tiny: Any, tmp_path: Path, weights: str
) -> None:
    import torch

    published = contents(tiny, tmp_path / "repository", weights=weights)
    publish(the_hub, published)
    folder = tmp_path / "models" / "tiny"
    source = hub.model(MODEL, folder, revision=COMMIT)
    assert source["commit"] == COMMIT
    assert source["format"] == ("safetensors" if weights == "safetensors" else "bin")
    assert names(folder) == {"config.json", "vocab.txt", "model.safetensors", "source.json"}
    assert set(source["files"]) == names(folder) - {"source.json"}
    if weights != "safetensors":
        sum_ = hashlib.sha256(published["pytorch_model.bin"]).hexdigest()
        assert source["published"] == {"pytorch_model.bin": sum_}
    with torch.no_grad():
        expected = tiny.bert(input_ids=torch.arange(40)[None]).last_hidden_state
    assert torch.equal(outputs(folder), expected)

    asked = len(the_hub.asked)  # a second call verifies and asks nobody
    assert hub.model(MODEL, folder, revision=COMMIT) == source
    assert len(the_hub.asked) == asked
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    hub.model(MODEL, folder, revision=COMMIT, force=True)
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before

    weights_file = folder / "model.safetensors"
    damaged = bytearray(weights_file.read_bytes())
    damaged[-1] ^= 1
    weights_file.write_bytes(damaged)
    with pytest.raises(UserError, match=r"model\.safetensors is not what.*--force"):
        hub.model(MODEL, folder, revision=COMMIT)
    with pytest.raises(UserError, match=rf"holds {MODEL} at .*, not {MODEL} at main"):
        hub.model(MODEL, folder, revision="main")


@pytest.mark.parametrize("weights", ["safetensors", "zip"])
def test_sharded_weights_load(the_hub: Server, tiny: Any, tmp_path: Path, weights: str) -> None:
    import torch
    from safetensors.torch import save

    state = {name: value.clone() for name, value in tiny.bert.state_dict().items()}
    halves = [dict(list(state.items())[:9]), dict(list(state.items())[9:])]
    stem, end = ("model", "safetensors") if weights == "safetensors" else ("pytorch_model", "bin")
    published = {"config.json": tiny.config.to_json_string().encode(), "vocab.txt": b"[PAD]\n"}
    index: dict[str, str] = {}
    for i, half in enumerate(halves, 1):
        name = f"{stem}-{i:05}-of-00002.{end}"
        torch.save(half, tmp_path / name)
        shard = save(half, {"format": "pt"}) if end == "safetensors" else b""
        published[name] = shard or (tmp_path / name).read_bytes()
        index |= dict.fromkeys(half, name)
    published[f"{stem}.{end}.index.json"] = json.dumps(
        {"metadata": {}, "weight_map": index}
    ).encode()
    publish(the_hub, published, revision="main")
    hub.model(MODEL, tmp_path / "tiny", revision="main")
    with torch.no_grad():
        expected = tiny.bert(input_ids=torch.arange(40)[None]).last_hidden_state
    assert torch.equal(outputs(tmp_path / "tiny"), expected)
    published[f"{stem}.{end}.index.json"] = b'{"weight_map": {"a": "../../secret.bin"}}'
    publish(the_hub, published, revision="other")
    (tmp_path / "cache").rename(tmp_path / "away")
    with pytest.raises(UserError, match="does not list files that are there"):
        hub.model(MODEL, tmp_path / "other", revision="other")


def test_tied_weights_are_stored_once_and_views_apart(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    base = torch.arange(12.0).reshape(3, 4)
    state = {"bert.embeddings": base, "cls.decoder": base, "row": base[1], "turned": base.T}
    torch.save(state, tmp_path / "pytorch_model.bin")
    download.to_safetensors([tmp_path / "pytorch_model.bin"], tmp_path / "model.safetensors")
    loaded = load_file(tmp_path / "model.safetensors")
    assert set(loaded) == {"bert.embeddings", "row", "turned"}
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_hostile_or_damaged_weights_are_refused_and_not_run(
    the_hub: Server, tiny: Any, tmp_path: Path
) -> None:
    import torch

    published = contents(tiny, tmp_path / "repository", weights="zip")
    torch.save({"weight": Evil(tmp_path / "ran")}, tmp_path / "evil.bin")
    torch.save({"weight": torch.zeros(1), "epoch": 3}, tmp_path / "mixed.bin")
    bad = [
        pickle.dumps(Evil(tmp_path / "ran")),
        (tmp_path / "evil.bin").read_bytes(),
        (tmp_path / "mixed.bin").read_bytes(),
        published["pytorch_model.bin"][:-100],
        b"",
    ]
    for i, body in enumerate(bad):
        publish(the_hub, {**published, "pytorch_model.bin": body}, revision=f"v{i}")
        (tmp_path / "cache").exists() and (tmp_path / "cache").rename(tmp_path / f"cache{i}")
        with pytest.raises(UserError, match=r"pytorch_model\.bin") as error:
            hub.model(MODEL, tmp_path / "tiny", revision=f"v{i}")
        assert one_line(error)
    publish(the_hub, {"config.json": published["config.json"], "model.safetensors": bad[0]})
    (tmp_path / "cache").rename(tmp_path / "cache-last")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        hub.model(MODEL, tmp_path / "tiny", revision=COMMIT)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "evil", "auto_map": {"AutoModel": "m.M"}}', "needs code of its own"),
        ('{"model_type": "none-such"}', "is unknown"),
        ('{"hidden_size": 32}', "names no model_type"),
        ("[1, 2]", "names no model_type"),
        ("{", "config.json is damaged"),
    ],
)
def test_config_is_checked_before_the_weights_are_downloaded(
    the_hub: Server, tmp_path: Path, config: str, message: str
) -> None:
    publish(the_hub, {"config.json": config.encode(), "pytorch_model.bin": BODY})
    with pytest.raises(UserError, match=message) as error:
        hub.model(MODEL, tmp_path / "tiny", revision=COMMIT)
    assert one_line(error)
    assert not [path for _, path, _ in the_hub.asked if path.endswith(".bin")]
    assert not (tmp_path / "tiny").exists()


def test_unavailable_models_say_why_and_where_to_put_the_files(
    the_hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = f"/api/models/{MODEL}/revision/main"
    cases = [
        (404, "RepoNotFound", "no such model"),
        (404, "RevisionNotFound", "no such revision"),
        (403, "GatedRepo", "gated"),
        (503, "", "503"),
    ]
    for status, code, why in cases:
        the_hub.errors[page] = status, code
        with pytest.raises(UserError, match=f"{why}.* into {tmp_path}/tiny") as error:
            hub.model(MODEL, tmp_path / "tiny", revision="main")
        assert "model.safetensors or pytorch_model.bin" in one_line(error)
    the_hub.files[page] = b"<html>a login page</html>"
    with pytest.raises(UserError, match=f"into {tmp_path}/tiny"):
        hub.model(MODEL, tmp_path / "tiny", revision="main")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=f"refused.* into {tmp_path}/tiny"):
        hub.model(MODEL, tmp_path / "tiny", revision="main")
    assert not (tmp_path / "tiny").exists()


def test_offline_takes_what_the_cache_has(
    the_hub: Server, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    publish(the_hub, contents(tiny, tmp_path / "repository", weights="safetensors"))
    first = hub.model(MODEL, tmp_path / "first", revision=COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.model(MODEL, tmp_path / "second", revision=COMMIT) == first
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set.* into"):
        hub.model("somebody/other", tmp_path / "third", revision="main")


def test_files_placed_by_hand_are_converted_and_kept(tiny: Any, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    contents(tiny, folder, weights="zip")
    (folder / "notes.txt").write_text("mine")
    source = hub.model(MODEL, folder, revision="main")
    assert source["commit"] is None
    assert {"model.safetensors", "pytorch_model.bin", "notes.txt"} < names(folder)
    assert hub.model(MODEL, folder, revision="main") == source
    with pytest.raises(UserError, match=r"has no config\.json"):
        hub.model(MODEL, tmp_path, revision="main")


def test_ids_cannot_leave_the_models_folder() -> None:
    assert hub.local_name("owner/name-1.x_y") == "owner--name-1.x_y"
    assert hub.local_name("bert-base-uncased") == "bert-base-uncased"
    for bad in ["../x", "a/../b", "/etc", "a/b/c", "", ".", "a--b/c", "a\n", "a/b\n", "~", "a b"]:
        with pytest.raises(UserError, match="is not a model's id"):
            hub.local_name(bad)
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in hub.REVISIONS.values())
    assert len({hub.local_name(name) for name in hub.REVISIONS}) == len(hub.REVISIONS)


def test_script_killed_midway_leaves_nothing_and_goes_on(
    server: Server, tiny: Any, tmp_path: Path
) -> None:
    """As a user runs it: HF_ENDPOINT, and HF_HOME with the token and the cache."""
    published = contents(tiny, tmp_path / "repository", weights="safetensors")
    publish(server, published)
    home, folder = tmp_path / "home", tmp_path / "tiny"
    home.mkdir()
    (home / "token").write_text("hf_secret")
    env = {"HF_HOME": str(home), "HF_ENDPOINT": server.url}
    options = ["--model", MODEL, "--revision", COMMIT, "--out", str(folder)]
    command = [sys.executable, "-m", "scripts.fetch_model", *options]
    server.pause_s = 1.0
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env})
    blobs = home / "hub" / "models--somebody--tiny-bert" / "blobs"
    deadline = time.monotonic() + 30
    while not any(part.stat().st_size for part in blobs.glob("*.part")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not folder.exists()
    (tmp_path / ".tiny.abcd_123").mkdir()  # what a kill while copying would have left
    server.pause_s = 0
    done = script("fetch_model", *options, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    sum_ = hashlib.sha256(published["model.safetensors"]).hexdigest()
    assert done.stdout.count("\n") == 1
    assert sum_ in done.stdout
    assert COMMIT in done.stdout
    assert (folder / "model.safetensors").read_bytes() == published["model.safetensors"]
    assert not (tmp_path / ".tiny.abcd_123").exists()
    resumed = [headers for _, path, headers in server.asked if "range" in headers]
    assert len(resumed) == 1
    sent = {headers.get("authorization") for _, path, headers in server.asked if MODEL in path}
    assert sent == {"Bearer hf_secret"}
