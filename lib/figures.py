"""Pictures, each saved whole. matplotlib itself shapes and orders Persian text."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.files import staged_file

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")  # Okabe and Ito
SAMPLE = "sample, not a result"
MAX_CLASSES = 60


def class_counts(
    path: Path, counts: Mapping[str, Mapping[str, int]], *, title: str, sample: bool = False
) -> None:
    """Draw how many rows each class has in each split.

    Args:
        path: the picture to write; its suffix says the format.
        counts: split → class → rows; every split has the same classes.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    classes = list(next(iter(counts.values())))
    if len(classes) > MAX_CLASSES:
        title = f"{title}, the first {MAX_CLASSES} of {len(classes)}"
        classes = classes[:MAX_CLASSES]
    labels = [name if len(name) <= 24 else f"{name[:23]}…" for name in classes]
    figure, axes_of = panels(len(counts), height=1.5 + 0.32 * len(classes), share_y=True)
    for axes, (split, of_class) in zip(axes_of, counts.items(), strict=True):
        values = [of_class[name] for name in classes]
        bars = axes.barh(range(len(classes)), values, color=COLORS[0], height=0.7)
        axes.bar_label(bars, padding=3, fontsize=9)
        axes.set_yticks(range(len(classes)), labels, parse_math=False)
        axes.set_xlim(0, 1.18 * max(*values, 1))
        axes.set_title(f"{split} ({sum(of_class.values())})", fontsize=10)
        axes.set_xlabel("rows")
        axes.grid(axis="y", visible=False)
    axes_of[0].invert_yaxis()
    save(figure, path, title, sample=sample)


def sentence_lengths(
    path: Path,
    lengths: Mapping[str, Mapping[str, np.ndarray]],
    *,
    title: str,
    sample: bool = False,
) -> None:
    """Draw how long the texts of each split are.

    Args:
        path: the picture to write; its suffix says the format.
        lengths: split → what the texts are (premise, hypothesis) → (N,) words of each.
        title: of the whole picture.
        sample: whether the data is generated, which the title then says.
    """
    longest = max(int(n.max()) for kinds in lengths.values() for n in kinds.values())
    width = max(1, math.ceil(longest / 60))
    edges = [n - 0.5 for n in range(0, longest + 2 * width, width)]
    figure, axes_of = panels(len(lengths), height=3.2, share_y=False)
    for axes, (split, kinds) in zip(axes_of, lengths.items(), strict=True):
        for color, (kind, n_words) in zip(COLORS, kinds.items(), strict=False):
            label = f"{kind}: mean {n_words.mean():.1f}, longest {n_words.max()}"
            axes.hist(n_words, edges, color=color, alpha=0.45, histtype="stepfilled")
            axes.hist(n_words, edges, color=color, label=label, histtype="step", linewidth=1.2)
        axes.set_title(f"{split} ({len(n_words)})", fontsize=10)
        axes.set_xlim(0, edges[-1])
        axes.margins(y=0.3)  # room for the legend
        axes.set_xlabel("words")
        axes.legend(fontsize=8, frameon=False, loc="upper right")
    axes_of[0].set_ylabel("texts")
    save(figure, path, title, sample=sample)


def panels(n: int, *, height: float, share_y: bool = False) -> tuple[Figure, Sequence[Axes]]:
    """A figure with `n` panels side by side, `height` inches high, in this project's look."""
    figure = Figure(figsize=(3.6 * n, height), layout="constrained")
    found = figure.subplots(1, n, sharey=share_y, squeeze=False)[0]
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, found


def save(figure: Figure, path: Path, title: str, *, sample: bool) -> None:
    """Write a figure whole, with its title; generated data is named as such."""
    title = f"{title} ({SAMPLE})" if sample else title
    figure.suptitle(title, fontsize=11, parse_math=False)  # a name may hold a dollar sign
    with staged_file(path) as temporary:
        figure.savefig(temporary, dpi=150)
