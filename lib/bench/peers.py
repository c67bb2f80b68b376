"""Hugging Face's Trainer on a job of the benchmark, as its documentation has it: a peer of ours."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import surgery
from lib.bench import ours as bench_ours
from lib.bench.ours import Job
from lib.bench.table import Measured
from lib.loader import Split

WARMUP = 0.1


class WithLoss(nn.Module):
    """The library's own encoder, pooling and head, as the Trainer wants them: with a loss."""

    def __init__(self, encoder: nn.Module, head: nn.Module, *, pooling: str) -> None:
        """Join what `surgery.build` made; `pooling` is cls or mean, over padding too."""
        super().__init__()
        self.encoder, self.head, self.pooling = encoder, head, pooling

    def forward(self, labels: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """The mean loss over the batch, and logits (B, C)."""
        hidden = self.encoder(**inputs).last_hidden_state
        logits = self.head(hidden[:, 0] if self.pooling == "cls" else hidden.mean(1))
        return {"loss": nn.functional.cross_entropy(logits.float(), labels), "logits": logits}


def text(job: Job, *, best: bool, device: str) -> Measured:
    """HF Trainer on a job of text, from token lists to its best weights.

    Tokenised before the clock starts; DataCollatorWithPadding pads each batch to its longest row.

    Args:
        job: what to do.
        best: group the rows by length, and bfloat16 on CUDA; else the defaults: random order and
            float32. The fused AdamW is the Trainer's default.
        device: to compute on.
    """
    from transformers import AutoTokenizer, DataCollatorWithPadding

    data = bench_ours.text(job)
    rows = {name: examples(split) for name, split in data.splits.items()}
    tokenizer = AutoTokenizer.from_pretrained(job.model, trust_remote_code=False)
    started = time.perf_counter()
    model = with_loss(job, data.labels)
    seconds, right = fitted(
        job,
        model,
        rows,
        DataCollatorWithPadding(tokenizer),
        device=device,
        per_device_train_batch_size=job.batch_size,
        train_sampling_strategy="group_by_length" if best else "random",
        bf16=best and device.startswith("cuda"),
        started=started,
    )
    flops = bench_ours.flops_of(job, data, by_us=False)
    return Measured(seconds=seconds, flops=flops, accuracy=right)


def with_loss(job: Job, labels: tuple[str, ...]) -> WithLoss:
    """The same classifier as ours, with the same first weights, in the library's own forward."""
    torch.manual_seed(job.seed)
    classifier = surgery.build(bench_ours.spec_of(job, labels), model=Path(job.model))
    if job.speech:  # the library would leave out layers and hide frames; ours does not
        classifier.encoder.config.update({"layerdrop": 0.0, "apply_spec_augment": False})
    return WithLoss(classifier.encoder, classifier.head, pooling=classifier.pooling)


def examples(split: Split) -> list[dict[str, Any]]:
    """The rows of a split of text as a tokenizer gives them."""
    found = []
    for row in range(len(split)):
        batch = split.collate(np.array([row]))
        inputs = {k: batch[k][0].tolist() for k in ("input_ids", "token_type_ids") if k in batch}
        found.append(inputs | {"labels": int(batch["labels"][0])})
    return found


def fitted(
    job: Job,
    model: nn.Module,
    rows: dict[str, Any],
    collate: Callable[[Any], Any],
    *,
    device: str,
    started: float,
    **options: Any,
) -> tuple[float, float]:
    """Seconds from `started` until the best weights are in place, and their test accuracy."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    steps = -(-len(rows["train"]) // job.batch_size) * job.epochs
    with tempfile.TemporaryDirectory(dir=job.out) as folder:
        told = TrainingArguments(
            output_dir=folder,
            num_train_epochs=job.epochs,
            learning_rate=job.learning_rate,
            warmup_steps=int(WARMUP * steps),
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
            seed=job.seed,
            use_cpu=device == "cpu",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            remove_unused_columns=False,
            **options,
        )
        trainer = Trainer(
            model=model,
            args=told,
            data_collator=collate,
            train_dataset=rows["train"],
            eval_dataset=rows["validation"],
            compute_metrics=_accuracy,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        seconds = time.perf_counter() - started
        metrics = trainer.predict(rows["test"]).metrics
    return seconds, float(metrics["test_accuracy"])


def _accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}
