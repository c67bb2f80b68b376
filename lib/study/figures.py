"""Pictures of a study: curves of training, confusions, variants side by side, heads."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from lib.figures import COLORS, panels, save


def curves(
    path: Path, runs: Sequence[Sequence[Mapping[str, Any]]], *, title: str, sample: bool = False
) -> None:
    """Draw training and validation loss and accuracy against the epoch.

    Args:
        path: the picture to write.
        runs: the validation records of metrics.jsonl, of one run; of several seeds or folds each
            is drawn faintly, with the mean where all have the epoch.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    figure, (left, right) = panels(2, height=3.2)
    for axes, name in ((left, "loss"), (right, "accuracy")):
        for color, key, label in (
            (COLORS[0], f"train_{name}", "training"),
            (COLORS[5], name, "validation"),
        ):
            lines = [{record["epoch"]: record[key] for record in records} for records in runs]
            if len(lines) > 1:
                for line in lines:
                    axes.plot(list(line), list(line.values()), color=color, alpha=0.35, linewidth=1)
                shared = [epoch for epoch in lines[0] if all(epoch in line for line in lines)]
                label = f"{label}, mean of {len(lines)} runs"
                mean = {epoch: np.mean([line[epoch] for line in lines]) for epoch in shared}
            else:
                mean = lines[0]
            how: dict[str, Any] = {"color": color, "marker": "o", "markersize": 3, "label": label}
            axes.plot(list(mean), list(mean.values()), **how)
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
            text = f"{matrix[row, column]:.4g}"  # a mean over seeds is no whole number
            axes.text(column, row, text, ha="center", va="center", color=color)
        axes.set_xticks(range(n), class_names, parse_math=False)
        axes.set_yticks(range(n), class_names, parse_math=False)
        axes.grid(visible=False)
        axes.set_title(f"{split} ({matrix.sum():.0f})", fontsize=10)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
    save(figure, path, title, sample=sample)


def variants(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    floors: Sequence[Mapping[str, Any]],
    *,
    title: str,
    metrics: Sequence[str] = ("accuracy",),
    sample: bool = False,
) -> None:
    """Draw variants side by side, with 95 % intervals, above the floors: a panel for each metric.

    Args:
        path: the picture to write.
        rows: of the results table: variant, seed, each metric and its interval's ends; `points`
            may hold rows of single folds or seeds, which are drawn as points.
        floors: name and each metric of each.
        title: of the whole picture.
        metrics: of accuracy and uar.
        sample: whether the data is generated, which the title then says.
    """
    n_columns = 3 if len(metrics) == 1 else 2
    n_lines = -(-len(floors) // n_columns)
    height = 1.4 + 0.45 * len(rows) + 0.2 * n_lines
    figure, axes_of = panels(len(metrics), height=height, share_y=True)
    figure.set_figwidth(8 if len(metrics) == 1 else 1.5 + 5 * len(metrics))
    below = ScaledTranslation(0, -0.5, figure.dpi_scale_trans)  # inches: under the axis's label
    names = list(dict.fromkeys(row["variant"] for row in rows))
    colors = [COLORS[names.index(row["variant"]) % len(COLORS)] for row in rows]
    for axes, metric in zip(axes_of, metrics, strict=True):
        _bars(axes, rows, metric, colors)
        for index, floor in enumerate(sorted(floors, key=lambda floor: floor[metric])):
            style = ("dotted", "dashdot", "dashed", (0, (5, 1, 1, 1, 1, 1)))[index % 4]
            label = f"{floor['name']} {floor[metric]:.3f}"
            axes.axvline(floor[metric], color="0.35", linestyle=style, linewidth=1.2, label=label)
        axes.set_xlim(0, 1.08)
        axes.grid(axis="y", visible=False)
        points = "; points: single folds or seeds" if any(row.get("points") for row in rows) else ""
        name = "UAR" if metric == "uar" else metric
        axes.set_xlabel(f"test {name}, 95 % interval{points}")
        if floors:
            axes.legend(
                title="floors",
                fontsize=8,
                title_fontsize=8,
                frameon=False,
                ncols=n_columns,
                loc="upper center",
                bbox_to_anchor=(0.5, 0),
                bbox_transform=axes.transAxes + below,
            )
    labels = []
    for row in rows:
        seed, fold = row["seed"], row.get("fold")
        seeds = f"{seed} seeds" if isinstance(seed, str) else f"seed {seed}"
        folds = f", fold {fold}".replace("fold pooled", "folds pooled")
        labels.append(f"{row['variant']}, {seeds}{folds if isinstance(fold, str) else ''}")
    axes_of[0].set_yticks(range(len(rows)), labels, parse_math=False)
    axes_of[0].invert_yaxis()
    save(figure, path, title, sample=sample)


def differences(
    path: Path, rows: Sequence[Mapping[str, Any]], *, title: str, sample: bool = False
) -> None:
    """Draw each variant's difference from the baseline, a panel for each metric.

    Args:
        path: the picture to write.
        rows: as lib.study.compare gives them; filled where a difference is shown.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    names = list(dict.fromkeys(row["variant"] for row in rows))
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    figure, axes_of = panels(len(metrics), height=1.3 + 0.4 * len(names), share_y=True)
    for axes, metric in zip(axes_of, metrics, strict=True):
        axes.axvline(0, color="0.35", linewidth=1)
        for row in (row for row in rows if row["metric"] == metric):
            place, value = names.index(row["variant"]), 100 * row["difference"]
            color = COLORS[0] if row["shown"] in ("better", "worse") else "white"
            ends = 100 * np.array([row["low"], row["high"]], dtype=float)
            axes.plot(ends, [place, place], color=COLORS[0], linewidth=2)
            axes.plot(value, place, "o", color=color, markeredgecolor=COLORS[0], markersize=7)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        axes.set_xlabel(f"{'UAR' if metric == 'uar' else metric.replace('_f1', ' F1')}, points")
    axes_of[0].set_yticks(range(len(names)), names, parse_math=False)
    axes_of[0].set_ylim(len(names) - 0.5, -0.5)
    save(figure, path, title, sample=sample)


def _bars(
    axes: Axes, rows: Sequence[Mapping[str, Any]], metric: str, colors: Sequence[str]
) -> None:
    prefix = "ci" if metric == "accuracy" else metric
    value, low, high = (
        np.array([row[name] for row in rows], dtype=float)
        for name in (metric, f"{prefix}_low", f"{prefix}_high")
    )
    ends = np.stack([value - low, high - value])  # of a rare class they may both lie on one side
    known = np.maximum(0, np.nan_to_num(ends))
    places = np.arange(len(rows))
    axes.barh(places, value, color=colors, height=0.6, alpha=0.85)
    axes.errorbar(value, places, xerr=known, fmt="none", ecolor="0.2", capsize=3, linewidth=1)
    right = value + known[1]
    for place, row in enumerate(rows):
        points = [point[metric] for point in row.get("points", ())]
        axes.plot(points, [place] * len(points), "o", color="white", markeredgecolor="0.2", ms=4)
        right[place] = max([right[place], *points])
        text = axes.text(
            right[place] + 0.014, place, f"{value[place]:.3f}", va="center", fontsize=9
        )
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8})


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
