"""Pictures of a study: curves of training, confusions, variants side by side, heads."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.figures import COLORS, panels, save


def curves(
    path: Path, records: Sequence[Mapping[str, Any]], *, title: str, sample: bool = False
) -> None:
    """Draw training and validation loss and accuracy against the epoch.

    Args:
        path: the picture to write.
        records: the validation records of metrics.jsonl.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    figure, (left, right) = panels(2, height=3.2)
    epochs = [record["epoch"] for record in records]
    for axes, name in ((left, "loss"), (right, "accuracy")):
        for color, key, label in (
            (COLORS[0], f"train_{name}", "training"),
            (COLORS[5], name, "validation"),
        ):
            values = [record[key] for record in records]
            axes.plot(epochs, values, color=color, marker="o", markersize=3, label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss (nats)" if name == "loss" else name)
        axes.legend(fontsize=8, frameon=False)
    save(figure, path, title, sample=sample)


def confusion(
    path: Path,
    matrices: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    *,
    title: str,
    sample: bool = False,
) -> None:
    """Draw confusion matrices, a panel for each split: counts, and colour by row share.

    Args:
        path: the picture to write.
        matrices: split → (C, C), rows of true, columns of predicted.
        class_names: C names.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    n = len(class_names)
    figure, axes_of = panels(len(matrices), height=1.2 + max(2.4, 0.5 * n))
    for axes, (split, matrix) in zip(axes_of, matrices.items(), strict=True):
        share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in itertools.product(range(n), range(n)):
            color = "white" if share[row, column] > 0.6 else "black"
            text = f"{matrix[row, column]}"
            axes.text(column, row, text, ha="center", va="center", color=color)
        axes.set_xticks(range(n), class_names, parse_math=False)
        axes.set_yticks(range(n), class_names, parse_math=False)
        axes.grid(visible=False)
        axes.set_title(f"{split} ({matrix.sum()})", fontsize=10)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
    save(figure, path, title, sample=sample)


def variants(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    floors: Sequence[Mapping[str, Any]],
    *,
    title: str,
    sample: bool = False,
) -> None:
    """Draw the accuracy of variants side by side, with 95 % intervals, above the floors.

    Args:
        path: the picture to write.
        rows: of the results table: variant, seed, accuracy, ci_low, ci_high.
        floors: name and accuracy of each.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    figure, (axes,) = panels(1, height=1.6 + 0.45 * len(rows))
    figure.set_figwidth(8)
    places = np.arange(len(rows))
    accuracy = np.array([row["accuracy"] for row in rows], dtype=float)
    low = np.array([row["ci_low"] for row in rows], dtype=float)
    high = np.array([row["ci_high"] for row in rows], dtype=float)
    known = np.where(np.isnan(low), 0, accuracy - low), np.where(np.isnan(high), 0, high - accuracy)
    names = list(dict.fromkeys(row["variant"] for row in rows))
    colors = [COLORS[names.index(row["variant"]) % len(COLORS)] for row in rows]
    axes.barh(places, accuracy, color=colors, height=0.6, alpha=0.85)
    axes.errorbar(accuracy, places, xerr=known, fmt="none", ecolor="0.2", capsize=3, linewidth=1)
    for place, value, right in zip(range(len(rows)), accuracy, known[1], strict=True):
        axes.text(value + right + 0.012, place, f"{value:.3f}", va="center", fontsize=9)
    labels = [f"{row['variant']}, seed {row['seed']}" for row in rows]
    axes.set_yticks(places, labels, parse_math=False)
    axes.invert_yaxis()
    for index, floor in enumerate(sorted(floors, key=lambda floor: floor["accuracy"])):
        style = ("dotted", "dashdot", "dashed")[index % 3]
        label = f"{floor['name']} {floor['accuracy']:.3f}"
        axes.axvline(floor["accuracy"], color="0.35", linestyle=style, linewidth=1.2, label=label)
    axes.set_xlim(0, 1.08)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("test accuracy, 95 % interval")
    if floors:
        axes.legend(
            title="floors",
            fontsize=8,
            title_fontsize=8,
            frameon=False,
            ncols=3,
            loc="upper center",
            bbox_to_anchor=(0.45, -0.9 / (0.3 + 0.45 * len(rows))),
        )
    save(figure, path, title, sample=sample)


def head_scores(
    path: Path,
    scores: np.ndarray,
    removed: Sequence[tuple[int, int]],
    *,
    title: str,
    sample: bool = False,
) -> None:
    """Draw head scores (L, H) as a heat map; removed heads are crossed out.

    Args:
        path: the picture to write.
        scores: NaN where a head was gone before.
        removed: (layer, head) pairs.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    n_layers, n_heads = scores.shape
    figure, (axes,) = panels(1, height=1.6 + 0.33 * n_layers)
    figure.set_figwidth(2.6 + 0.42 * n_heads)
    image = axes.imshow(scores, cmap="viridis", aspect="auto")
    for layer, head in removed:
        axes.plot(head, layer, marker="x", color="white", markersize=9, markeredgewidth=3)
        axes.plot(head, layer, marker="x", color="black", markersize=8, markeredgewidth=1.2)
    axes.set_xticks(range(n_heads))
    axes.set_yticks(range(n_layers))
    axes.grid(visible=False)
    axes.set_xlabel(f"head (x: one of {len(removed)} removed)")
    axes.set_ylabel("layer")
    figure.colorbar(image, ax=axes, label="score")
    save(figure, path, title, sample=sample)


def pruning_curve(
    path: Path, points: Sequence[Mapping[str, float]], *, title: str, sample: bool = False
) -> None:
    """Draw validation accuracy against the fraction of heads removed without training again.

    Args:
        path: the picture to write.
        points: fraction, n_removed and accuracy of each.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    figure, (axes,) = panels(1, height=3.4)
    figure.set_figwidth(5)
    fractions = [point["fraction"] for point in points]
    accuracy = [point["accuracy"] for point in points]
    axes.plot(fractions, accuracy, marker="o", color=COLORS[0])
    axes.set_xlim(-0.03, 0.97)
    axes.set_ylim(0, 1)
    axes.set_xlabel("fraction of heads removed, without training again")
    axes.set_ylabel("validation accuracy")
    save(figure, path, title, sample=sample)
