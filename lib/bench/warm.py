"""An encoder that knows something: a short training of an untrained one, before any clock starts.

Fine-tuning starts from a pretrained encoder. Neither side would learn anything in the few steps of
a benchmark from random weights, and equal accuracies at chance would say nothing.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lib import files, fit, runs, surgery
from lib.bench import ours
from lib.bench.ours import Job
from lib.bench.table import Measured
from lib.options import Training

RATE_AT_WIDTH = 0.128  # 1e-3 at a width of 128; wider ones want less
KEPT = ("config.json", "tokenizer.json", "tokenizer_config.json")


def warm(untrained: str, *, data: str, to: str, device: str) -> Measured:
    """Train an untrained encoder for an epoch, and write it as a model folder.

    Args:
        untrained: its folder.
        data: prepared text of the same words.
        to: the new folder; made whole or not at all.
        device: to compute on.
    """
    job = Job(data=data, model=untrained, epochs=1, batch_size=32, learning_rate=0, out="")
    corpus = ours.text(replace(job, n_train=1_000_000, n_validation=96))
    spec = ours.spec_of(job, corpus.labels)
    rate = RATE_AT_WIDTH / spec.encoder["hidden_size"]
    options = Training(epochs=1, batch_size=32, learning_rate=rate, metric="accuracy")
    how: dict[str, Any] = {"model": Path(untrained), "device": torch.device(device)}
    config: Mapping[str, Any] = {"script": "bench", "options": {}, "change": {}, "inputs": {}}
    accuracy = 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        runs.opened(Path(folder) / "run", config) as run,
        files.staged_folder(Path(to)) as staged,
    ):
        for record in fit.fit(run, corpus, spec, options, **how):
            accuracy = record["accuracy"] if record["event"] == "validation" else accuracy
        surgery.build(spec, best=run.best).encoder.save_pretrained(staged)
        for name in KEPT:
            shutil.copy(Path(untrained) / name, staged / name)
    return Measured(seconds=0.0, accuracy=accuracy)
