"""The loop against Hugging Face's Trainer, an implementation that is not ours."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lib import optim, plan, predict, surgery, train
from lib.models import Classifier
from lib.options import Training
from lib.spec import Spec
from tests.conftest import toy_split, without_dropout


class WithLoss(nn.Module):
    """A classifier as the Trainer wants it."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(
        self,
        labels: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        logits = self.classifier(input_ids=input_ids, attention_mask=attention_mask)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_losses_agree_with_the_trainers_for_20_steps(
    toy_spec: Spec, toy_model: Path, tmp_path: Path, accumulation: int
) -> None:
    import transformers

    class InOrder(transformers.Trainer):  # the order is ours, so that the batches are the same
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    model = without_dropout(toy_model)
    spec = replace(toy_spec, dropout=0.0)
    split = toy_split(20 * 4 * accumulation)
    options = Training(
        epochs=1,
        batch_size=4,
        accumulation=accumulation,
        optimizer="sgd",
        learning_rate=0.3,
        weight_decay=0.0,
        warmup=0.0,
        max_grad_norm=0.5,
        pool=1,
    )
    steps = plan.epoch(
        split.lengths, batch_size=4, accumulation=accumulation, seed=0, epoch=0, pool=1
    )
    order = np.concatenate([turn for (turns,) in steps for turn in turns])

    torch.manual_seed(0)
    state = train.begin(surgery.build(spec, model=model), options, 20)
    ours = [
        record["loss"]
        for record in train.steps(
            state,
            split,
            options,
            loss_fn=optim.cross_entropy(),
            validate=partial(
                predict.validate, state.model, toy_split(4), class_names=("low", "high")
            ),
        )
        if record["event"] == "step"
    ]

    def collate(rows: list[dict[str, int]]) -> dict[str, torch.Tensor]:
        batch = split.collate(np.array([row["row"] for row in rows]))
        return {key: value for key, value in batch.items() if key != "ids"}

    torch.manual_seed(0)
    trainer = InOrder(
        model=WithLoss(surgery.build(spec, model=model)),
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=1,
            optim="sgd",
            learning_rate=0.3,
            weight_decay=0.0,
            lr_scheduler_type="linear",
            warmup_steps=0,
            max_grad_norm=0.5,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=[{"row": int(row)} for row in order],
        data_collator=collate,
    )
    trainer.train()
    theirs = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert len(ours) == 20
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert max(ours) - min(ours) > 0.05, "losses that do not move would agree by themselves"
