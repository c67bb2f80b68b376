"""The reference report's way with speech, on a job of the benchmark: a peer of ours."""

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lib.bench import flops as bench_flops
from lib.bench import peers
from lib.bench.bare import SAMPLE_RATE, bare
from lib.bench.ours import Job
from lib.bench.table import Measured
from lib.pool import n_cores
from lib.spec import read_encoder_config
from lib.speech_manifest import read_manifest
from lib.speech_prepare import prepare

PROCESSES = 6
PAIR = 2  # clips of a forward pass


def speech(job: Job, *, device: str) -> Measured:
    """HF Trainer from raw recordings to its best weights, as the reference report has it.

    Six processes decode, resample and normalise the clips, which stay in memory; batches of two in
    random order, padded to the longest without a mask, as many of them accumulated as a step of
    the job asks for; what the frozen convolutions give is computed in every epoch. Dropped layers
    and SpecAugment are left out, as on our side.

    Source: reference.md 1.1; the clips of a forward pass in validation by its 7.15 steps/s.
    """
    corpus = read_manifest(Path(job.data))
    started = time.perf_counter()
    paths = [source.file for source in corpus.sources]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        waves = pool.map(waveform, paths)
    numbers = {label: number for number, label in enumerate(corpus.labels)}
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "validation": [], "test": []}
    for source, wave in zip(corpus.sources, waves, strict=True):
        row = {"input_values": wave, "labels": numbers[source.label_filename]}
        rows[source.split].append(row)
    model = peers.with_loss(job, corpus.labels)
    seconds, right = peers.fitted(
        job,
        model,
        rows,
        padded,
        device=device,
        started=started,
        per_device_train_batch_size=PAIR,
        per_device_eval_batch_size=PAIR,
        gradient_accumulation_steps=job.batch_size // PAIR,
    )
    lengths = [np.array([len(r["input_values"]) for r in rows[n]]) for n in ("train", "validation")]
    flops = bench_flops.training(
        read_encoder_config(Path(job.model)), *lengths, epochs=job.epochs, n_frozen=job.n_frozen
    )
    return Measured(seconds=seconds, flops=flops, accuracy=right)


def waveform(path: str) -> np.ndarray:
    """(n,) float32: a recording at 16 kHz, mono, zero mean and unit variance."""
    import soundfile
    import soxr  # type: ignore[import-untyped, unused-ignore]

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    wave = soxr.resample(samples.mean(1), rate, SAMPLE_RATE)
    return (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)


def padded(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch padded with zeros to its longest clip: input_values (B, samples), labels (B,)."""
    import torch

    values = [torch.from_numpy(row["input_values"]) for row in rows]
    return {
        "input_values": torch.nn.utils.rnn.pad_sequence(values, batch_first=True),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def preparation(data: str, *, ours: bool, out: str, device: str) -> Measured:
    """Packing a corpus, or bare decoding and resampling of its files, on all cores.

    Args:
        data: its manifest.
        ours: pack; else bare.
        out: folder for what is written; nothing is left there.
        device: means nothing here.
    """
    corpus = read_manifest(Path(data))
    with tempfile.TemporaryDirectory(dir=out) as folder:
        started = time.perf_counter()
        if ours:
            prepare(corpus, Path(folder) / "prepared", workers=n_cores())
        else:
            bare([source.file for source in corpus.sources], workers=n_cores())
        return Measured(seconds=time.perf_counter() - started)
