"""What a training shows while it runs: bars, and a line for each validation."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from lib import runs


def rows_bar(what: str) -> Callable[[int, int], None]:
    """What is called with (rows done, rows in all); a bar from the first call to the last."""
    from tqdm import tqdm

    bars: list[Any] = []

    def progress(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(total=total, unit="row", disable=None, desc=what, leave=False))
        bars[0].update(done - bars[0].n)
        if done == total:
            bars.pop().close()

    return progress


def show(
    bar: Any,
    record: Mapping[str, Any],
    run: runs.Run,
    describe: Callable[[Mapping[str, Any]], str],
) -> None:
    while run.notes:
        bar.write(f"{run.folder}: {run.notes.pop(0)}")
    if record["event"] == "step" and not bar.disable:
        if bar.n == 0:  # a run that goes on starts in the middle
            bar.reset(total=bar.total)
            bar.initial = bar.n = record["step"] - 1
        is_due = time.time() - bar.last_print_t >= bar.mininterval or record["step"] == bar.total
        if is_due:  # to read a loss is to wait for the GPU
            per_s = record["n"] * (bar.format_dict["rate"] or 0.0)
            loss, accuracy = f"{record['loss']:.3f}", f"{record['accuracy']:.2f}"
            bar.set_postfix(loss=loss, accuracy=accuracy, per_s=f"{per_s:.0f}", refresh=False)
            bar.update(record["step"] - bar.n)
    elif record["event"] == "validation":
        bar.write(
            f"epoch {record['epoch']:.2f}, step {record['step']}: training loss "
            f"{record['train_loss']:.4f}, accuracy {record['train_accuracy']:.4f}; "
            f"{describe(record)}"
        )
        if run.config["options"].get("recipe") == "report" and "split" in run.config["options"]:
            for name in ("first_predictions", "first_labels", "n_predicted", "n_true"):
                bar.write(f"  {name.replace('_', ' ')} {record[name]}")


def figures(record: Mapping[str, Any]) -> str:
    """A classifier's validation in words."""
    return (
        f"validation loss {record['loss']:.4f}, accuracy {record['accuracy']:.4f}, macro F1 "
        f"{record['macro_f1']:.4f}, UAR {record['uar']:.4f}"
    )
