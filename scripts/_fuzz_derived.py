"""Inputs of scripts.fuzz that scripts have made of others, and that scripts read again."""

from pathlib import Path
from random import Random

from lib.fuzz.attempts import Case
from lib.fuzz.damage import damaged_bytes
from scripts._fuzz_cases import BERT, FULL, NEW, damage_of, made
from scripts._fuzz_world import HUBERT_RUN, WORDS, run_script

LINES = "raw/lines.txt"
LEARNER = ("--out", "models", "--epochs", "1", "--device", "cpu", "--limit", "4")
OF_LINES = (
    *("--data", LINES, "--model", "models/bert", "--max-length", "16", "--cache-folder", "cache"),
    *LEARNER,
)
OF_UNITS = ("--data", "prepared/speech", "--units", "u", "--model", "models/hubert", *LEARNER)
UNITS = (
    *("--data", "prepared/speech", "--split", "manifest", "--name", "u", "--units", "4"),
    *("--frames", "400"),
)
FLOORS = ("--data", "prepared/speech", "--split", "manifest")
MASKED = ("--run", FULL, "--device", "cpu", "--score-rows", "4", "--fractions", "0.5")
CURVE = (
    *("--study", "runs/bert/c", "--masked", "runs/bert/s/masked-s0.csv", "--device", "cpu"),
    *("--points", f"all:1:{FULL}"),
)
SPOKEN_NEW = (*HUBERT_RUN, *NEW, "--cache", "off")
AUGMENTED = (*SPOKEN_NEW, "--augment", "default")
READ_BY = (  # files, the script that reads them, its command line, the folders that it needs
    ("prepared/speech/units/u/*.*", "pretrain_hubert", ("--name", "n", *OF_UNITS), BERT),
    ("prepared/speech/units/u/*.*", "cluster_units", UNITS, BERT),
    ("prepared/speech/augmented/*/*.*", "train_hubert", AUGMENTED, BERT),
    ("prepared/speech/floors*.*", "floors", FLOORS, ("prepared",)),
    ("prepared/speech/floors*.*", "plot", ("--study", "runs/hubert/s"), ("prepared", "runs")),
    ("prepared/speech/mfcc*.*", "floors", (*FLOORS, "--force"), ("prepared",)),
    ("prepared/text/floors.json", "plot", ("--study", "runs/bert/s"), ("prepared", "runs")),
    ("prepared/text/leak/leak.json", "leak", ("--data", "prepared/text"), ("prepared",)),
    ("cache/text-*/*.*", "pretrain_bert", ("--name", "n", *OF_LINES), ("raw", "models", "cache")),
    (LINES, "pretrain_bert", ("--name", "n", *OF_LINES), ("raw", "models")),
    ("runs/bert/s/masked-s0.*", "curve", CURVE, (*BERT, "runs")),
    ("runs/bert/s/scores/*.json", "mask_heads", (*MASKED, "--force"), (*BERT, "runs")),
    ("models/h/source.json", "train_hubert", (*SPOKEN_NEW, "--model", "models/h"), BERT),
)


def make() -> None:
    """Derive files from those that scripts._fuzz_world has made in the current folder."""
    lines = [f"{first} {second} آب" for first in WORDS for second in WORDS]
    Path(LINES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    run_script("cluster_units", UNITS)
    run_script("augment", ("--data", "prepared/speech", "--split", "manifest", "--workers", "1"))
    run_script("pretrain_hubert", ("--name", "h", *OF_UNITS))
    run_script("pretrain_bert", ("--name", "b", *OF_LINES))
    run_script("mask_heads", MASKED)
    run_script("leak", ("--data", "prepared/text"))
    run_script("floors", FLOORS)


def derived(draw: Random, world: Path) -> Case:
    """Units, augmented audio, stored tokens, floors, a leak, masked heads or their scores."""
    pattern, script, argv, needs = draw.choice(READ_BY)
    path = draw.choice(sorted(path for path in world.glob(pattern) if path.name[0] != "."))
    damage = damaged_bytes if path.name == "lines.txt" else damage_of(path.suffix)
    data, what = damage(draw, path.read_bytes())
    edits: dict[str, bytes | str | None] = {path.relative_to(world).as_posix(): data}
    return made("derived files", script, argv, needs, edits, f"{path.name} {what}")
