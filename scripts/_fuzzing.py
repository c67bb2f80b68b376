"""The kinds of input that scripts.fuzz tries, and which ones of them a seed draws."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from lib.fuzz.attempts import Case
from scripts import _fuzz_corpora as corpora
from scripts import _fuzz_derived as derived
from scripts import _fuzz_models as models

KINDS: dict[str, tuple[Callable[[Random, Path], Case], int]] = {  # and how often it is drawn
    "audio": (corpora.audio, 25),
    "text": (corpora.text, 20),
    "manifest": (corpora.manifest, 12),
    "zips": (corpora.zips, 10),
    "transcripts": (corpora.transcripts, 4),
    "model-configs": (models.model_configs, 12),
    "weights": (models.weights, 6),
    "tokenizers": (models.tokenizers, 6),
    "pickles": (models.pickles, 4),
    "run-configs": (models.run_configs, 6),
    "best": (models.best_weights, 8),
    "checkpoints": (models.checkpoints, 10),
    "reports": (models.reports, 5),
    "prepared-text": (corpora.prepared_text, 6),
    "prepared-speech": (corpora.prepared_speech, 6),
    "derived": (derived.derived, 10),
}


def numbered(n: int, *, seed: int, kinds: Sequence[str]) -> list[tuple[str, int]]:
    """Which inputs to try: n pairs of a kind and a number, the kinds in proportion."""
    draw = Random(f"{seed} kinds")
    shares = [KINDS[kind][1] for kind in kinds]
    return [(kind, number) for number, kind in enumerate(draw.choices(kinds, shares, k=n))]


def case(world: Path, *, kind: str, number: int, seed: int) -> Case:
    """The number-th input of a seed: the same whenever it is asked for."""
    return KINDS[kind][0](Random(f"{seed} {kind} {number}"), world)
