"""What the inputs of scripts.fuzz have in common: a script, its command line, changed files."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from lib.fuzz.attempts import Case
from lib.fuzz.damage import damaged_bytes, damaged_json, damaged_table
from scripts._fuzz_world import BERT_RUN, HUBERT_RUN

Edits = dict[str, bytes | str | None]
Damage = Callable[[Random, bytes], tuple[bytes, str]]
FULL, SPOKEN = "runs/bert/s/full-s0", "runs/hubert/s/full-s0"
BERT = ("prepared", "models")
NEW = ("--variant", "new", "--epochs", "1", "--limit", "4")
READERS = (  # of a trained run
    ("evaluate", ("--runs", FULL, "--device", "cpu", "--force")),
    ("freeze", ("--run", FULL, "--first", "1", "--init", "base", "--device", "cpu")),
    ("freeze", ("--run", FULL, "--keep", "1", "--device", "cpu")),
    ("prune", ("--run", FULL, "--heads", "0:1", "--device", "cpu")),
    ("train_bert", (*BERT_RUN, "--epochs", "1", "--resume")),
)


def made(
    kind: str,
    script: str,
    argv: Sequence[str],
    needs: tuple[str, ...],
    edits: Edits,
    what: str,
    **rest: Any,
) -> Case:
    """A case whose command line may be any sequence."""
    return Case(
        kind=kind, what=what, script=script, argv=tuple(argv), needs=needs, edits=edits, **rest
    )


def prepared(kind: str, edits: Edits, what: str, draw: Random, *, hostile: bool = False) -> Case:
    """A case of scripts.prepare_shemo with a manifest."""
    argv = ["--manifest", "raw/speech/list.csv", "--name", "s", "--out", "out"]
    argv += ["--skip-bad"] if draw.random() < 0.2 and not hostile else []
    return made(kind, "prepare_shemo", argv, ("raw",), edits, what, absent="out/s", hostile=hostile)


def trained(
    kind: str, edits: Edits, what: str, *, speech: bool = False, cache: str = "off"
) -> Case:
    """A case of a training script that makes a new run of one step."""
    script, argv = ("train_hubert", HUBERT_RUN) if speech else ("train_bert", BERT_RUN)
    more = ("--augment", "none") if speech else ()
    argv = (*argv, *NEW, *more, "--cache", cache)
    needs = (*BERT, "cache") if cache == "on" else BERT
    return made(kind, script, argv, needs, edits, what)


def read(
    draw: Random,
    kind: str,
    edits: Edits,
    what: str,
    *,
    readers: Sequence[tuple[str, tuple[str, ...]]] = READERS,
    hostile: bool = False,
) -> Case:
    """A case of one of the scripts that read a trained run."""
    script, argv = draw.choice(readers)
    return made(kind, script, argv, (*BERT, "runs"), edits, what, hostile=hostile)


def damage_of(suffix: str) -> Damage:
    """What damages a file of that suffix."""
    return {".json": damaged_json, ".csv": damaged_table}.get(suffix, damaged_bytes)


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes, in hex."""
    import hashlib

    return hashlib.sha256(data).hexdigest()
