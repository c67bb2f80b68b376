"""Pictures of learning without labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.figures import COLORS, panels, save


def curves(
    path: Path, records: Sequence[Mapping[str, Any]], *, title: str, sample: bool = False
) -> None:
    """Draw the loss, and the accuracy on what is hidden and on what is not, against the epoch.

    Args:
        path: the picture to write.
        records: the validation records of metrics.jsonl, see lib.pretrain.validate.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    figure, (left, right) = panels(2, height=3.2)
    epochs = [record["epoch"] for record in records]
    lines = (
        (left, "train_loss", "training", COLORS[0]),
        (left, "loss", "held out", COLORS[5]),
        (right, "train_accuracy", "training", COLORS[0]),
        (right, "masked_accuracy", "held out, hidden", COLORS[5]),
        (right, "unit_accuracy", "held out, not hidden", COLORS[2]),
    )
    for axes, key, label, color in lines:
        if records and key in records[0]:
            values = [record[key] for record in records]
            axes.plot(epochs, values, color=color, marker="o", markersize=3, label=label)
    for axes, name in ((left, "loss (nats)"), (right, "accuracy")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.legend(fontsize=8, frameon=False)
    save(figure, path, title, sample=sample)
