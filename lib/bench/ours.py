"""Our side of the benchmark: the runs that the training scripts make, and what a pass costs."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lib import corpus, fit, latency, plan, runs, surgery
from lib.bench import flops as bench_flops
from lib.bench.table import Measured
from lib.cache import Caching
from lib.corpus import Corpus
from lib.device import pick
from lib.options import Training
from lib.predict import precision, predict
from lib.spec import Spec, read_encoder_config
from lib.speech_manifest import read_manifest
from lib.speech_prepare import prepare

MAX_LENGTH = 128  # tokens
SPEECH = {"labels": "filename", "split": "manifest", "fold": 1, "emobox": None}
SPEECH |= {"augment": "none", "mask": True, "max_seconds": 0, "limit": None}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training that both sides do.

    Attributes:
        data: prepared text, or the manifest of raw speech, whose preparation is part of the work.
        model: folder of the encoder, whose weights both start from.
        n_train, n_validation: rows of text; of speech all.
        epochs: each ends with a validation, by which both keep their best weights.
        batch_size: rows of an optimizer step.
        learning_rate: after a warm-up over a tenth of the steps; then it falls linearly.
        n_frozen: first layers that are frozen, with the embeddings; in speech the convolutions are
            frozen in any case.
        n_layers: layers that are kept; None for all.
        seed: of head, order and dropout.
        out: folder for what is written; nothing is left there.
    """

    data: str
    model: str
    n_train: int = 0
    n_validation: int = 0
    epochs: int
    batch_size: int
    learning_rate: float
    n_frozen: int = 0
    n_layers: int | None = None
    seed: int = 0
    out: str

    @property
    def speech(self) -> bool:
        """Whether it is of speech."""
        return self.data.endswith(".csv")


def text(job: Job) -> Corpus:
    """The corpus of a job on text, as many of its rows as are asked for, the classes alike."""
    options = {"data": job.data, "model": job.model, "max_length": MAX_LENGTH, "limit": None}
    found = corpus.load(options)
    sizes = {"train": job.n_train, "validation": job.n_validation}
    splits: dict[str, Any] = dict(found.splits)
    for name, n in sizes.items():
        splits[name] = splits[name].take(plan.limited(splits[name].labels, n))
    return replace(found, splits=splits)


def speech(job: Job, folder: Path) -> Corpus:
    """The corpus of a job on speech, prepared now in `folder`."""
    prepare(read_manifest(Path(job.data)), folder)
    return corpus.load({"data": str(folder), "model": job.model, **SPEECH})


def spec_of(job: Job, labels: tuple[str, ...]) -> Spec:
    """The classifier of a job: in text the first token to the classes, in speech mean and MLP."""
    frozen = tuple(range(job.n_frozen))
    return Spec(
        encoder=read_encoder_config(Path(job.model)),
        labels=labels,
        pooling="mean" if job.speech else "cls",
        head="mlp" if job.speech else "linear",
        keep_layers=job.n_layers,
        frozen_features=job.speech,
        frozen_embeddings=job.n_frozen > 0,
        frozen_layers=frozen,
    )


def options_of(job: Job) -> Training:
    """The loop's options for a job."""
    return Training(
        epochs=job.epochs,
        batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        weight_decay=0.0,
        metric="accuracy",
        seed=job.seed,
    )


def flops_of(job: Job, data: Corpus, *, by_us: bool) -> float:
    """What the training of a job takes on real lengths, see lib.bench.flops.

    We compute what is frozen once, and of the last layer on text only what is read.
    """
    config = dict(read_encoder_config(Path(job.model)))
    config["num_hidden_layers"] = job.n_layers or config["num_hidden_layers"]
    lengths = [data.splits[name].lengths for name in ("train", "validation")]
    how: dict[str, Any] = {"epochs": job.epochs, "n_frozen": job.n_frozen}
    how |= {"ahead": by_us and (job.n_frozen > 0 or job.speech), "first": by_us and not job.speech}
    return bench_flops.training(config, *lengths, **how)


def train(job: Job, *, cache: str, device: str) -> Measured:
    """A run from prepared text, or from raw speech, to its best weights, as the scripts make it.

    Args:
        job: what to do.
        cache: folder of what frozen layers give; used if it pays.
        device: to compute on.
    """
    with tempfile.TemporaryDirectory(dir=job.out) as folder:
        place, made = pick(device), Path(folder)
        started = time.perf_counter()
        data = speech(job, made / "prepared") if job.speech else text(job)
        spec = spec_of(job, data.labels)
        config: dict[str, Any] = {"script": "bench", "options": {}, "change": {}, "inputs": {}}
        caching = Caching(mode="auto", folder=Path(cache))
        with runs.opened(made / "run", config) as run:
            for _ in fit.fit(
                run,
                data,
                spec,
                options_of(job),
                model=Path(job.model),
                device=place,
                caching=caching,
                saving=fit.Saving(apart_s=30, minutes=10),
            ):
                pass
        seconds = time.perf_counter() - started
        best = surgery.build(spec, best=run.best).to(place)
        test = data.splits["test"]
        logits = predict(best, test, dtype=precision("auto", place))
        right = float((logits.argmax(1) == test.labels).mean())
    flops = flops_of(job, data, by_us=True)
    return Measured(seconds=seconds, flops=flops, accuracy=right)


def passes(
    model: str, *, data: str, keep: float, whole: bool, device: str, n_rows: int = 32
) -> Measured:
    """The median of a forward pass over rows of typical length.

    Args:
        model: folder of the encoder.
        data: prepared text.
        keep: share of the heads of each layer that stays.
        whole: of the classifier; else of its first layer's attention block alone.
        device: to compute on.
        n_rows: of the batch.
    """
    job = Job(
        data=data, model=model, epochs=1, batch_size=1, learning_rate=0, out="", n_validation=512
    )
    config = read_encoder_config(Path(model))
    split = text(replace(job, n_train=1)).splits["validation"]
    batch = latency.typical_batch(split, n_rows)
    n_heads = round(keep * config["num_attention_heads"])
    heads = {i: tuple(range(n_heads)) for i in range(config["num_hidden_layers"])}
    spec = replace(spec_of(job, ("e", "c", "n")), heads=heads)
    classifier = surgery.build(spec, model=Path(model)).to(device).eval()
    lengths = batch["input_ids"].shape[1] * torch.ones(n_rows).numpy()
    n_layers = config["num_hidden_layers"]
    if whole:
        seconds = latency.milliseconds({"": classifier}, batch)[""] / 1000
    else:
        seconds, n_layers = _attention_s(classifier, batch, device), 1
    flops = bench_flops.layers(config, lengths, n_layers=n_layers, heads=keep)
    if whole and classifier.reads_first:
        flops -= bench_flops.unread(config, lengths, heads=keep)
    if not whole:  # without the feed-forward part
        flops -= 4 * config["hidden_size"] * config["intermediate_size"] * float(lengths.sum())
    return Measured(seconds=seconds, flops=flops)


def _attention_s(
    classifier: surgery.Classifier, batch: Mapping[str, torch.Tensor], device: str
) -> float:
    """The median seconds of the first layer's attention block, norm included."""
    shape = (*batch["input_ids"].shape, classifier.encoder.config.hidden_size)
    hidden = torch.randn(shape, device=device)
    attention = classifier.layers[0].get_submodule("attention")
    times: list[float] = []
    with torch.inference_mode():
        until = time.perf_counter() + 1.0
        while len(times) < 10 or time.perf_counter() < until:
            started = time.perf_counter()
            attention(hidden)
            if hidden.is_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]
