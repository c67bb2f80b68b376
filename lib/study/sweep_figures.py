"""The picture of a sweep: validation figures against what was varied, and the chosen on test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from lib.figures import COLORS, panels, save

MARKERS = "osD^vP"
MAX_TICKS = 13  # points, each with its number below it


def curves(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    *,
    label: str,
    title: str,
    reference: float | None = None,
    sample: bool = False,
) -> None:
    """Draw each line's validation figure with its interval and seeds, and the chosen on test.

    Args:
        path: the picture to write.
        rows: line, x, place (x as a number, or None), the metric's mean, _low, _high and
            _of_seeds, chosen, and test_ figures of the chosen.
        metric: of accuracy, uar, macro_f1.
        label: of the x axis.
        title: of the whole picture.
        reference: the base run's validation figure.
        sample: whether the data is generated, which the title then says.
    """
    lines = list(dict.fromkeys(row["line"] for row in rows))
    figure, (axes,) = panels(1, height=4 + 0.2 * -(-len(lines) // 2))
    figure.set_figwidth(6.4)
    names = list(dict.fromkeys(row["x"] for row in rows))
    numbers = all(row["place"] is not None for row in rows)
    place = {x: float(x) if numbers else float(i) for i, x in enumerate(names)}
    ends = sorted(place.values())
    step = min(np.diff(ends), default=1.0)
    for number, line in enumerate(lines):
        of_line = sorted((r for r in rows if r["line"] == line), key=lambda row: place[row["x"]])
        shift = 0.0 if numbers else (number - (len(lines) - 1) / 2) * 0.1
        places = np.array([place[row["x"]] for row in of_line]) + shift
        _line(axes, places, of_line, metric, number, joined=numbers)
        _chosen(axes, places, of_line, metric, number, aside=0.12 * step)
    if reference is not None:
        axes.axhline(reference, color="0.35", linestyle="dotted", label="base run", linewidth=1.2)
    axes.plot([], [], "*", color="0.2", ms=11, label="chosen by validation")
    axes.plot([], [], "X", color="white", markeredgecolor="0.2", ms=8, label="the chosen on test")
    if numbers:
        few = len(ends) <= MAX_TICKS
        axes.xaxis.set_major_locator(FixedLocator(ends) if few else MaxNLocator(integer=step >= 1))
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.set_xticks(range(len(names)), names, parse_math=False)
        axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xlabel(label)
    name = {"uar": "UAR", "macro_f1": "macro F1"}.get(metric, metric)
    known = any(row[f"{metric}_low"] is not None for row in rows)
    axes.set_ylabel(f"validation {name}{', 95 % interval' if known else ''}")
    figure.legend(fontsize=8, frameon=False, ncols=2, loc="outside lower center")
    save(figure, path, title, sample=sample)


def _line(
    axes: Axes,
    places: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    number: int,
    *,
    joined: bool,
) -> None:
    """One line: means, a band or bars for the intervals, and a small dot for each seed."""
    color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    mean, low, high = (
        np.array([row[name] for row in rows], dtype=float)
        for name in (metric, f"{metric}_low", f"{metric}_high")
    )
    known = np.isfinite(low)
    if joined:
        axes.fill_between(places[known], low[known], high[known], color=color, alpha=0.14, lw=0)
    else:
        distance = np.maximum(0, np.nan_to_num(np.stack([mean - low, high - mean])))
        axes.errorbar(places, mean, yerr=distance, fmt="none", ecolor=color, capsize=3)
    style = "-" if joined else "none"
    axes.plot(
        places, mean, marker=marker, ms=4.5, color=color, linestyle=style, label=rows[0]["line"]
    )
    for x, row in zip(places, rows, strict=True):
        values = row[f"{metric}_of_seeds"]
        if len(values) > 1:
            axes.plot([x] * len(values), values, ".", color=color, ms=3.5, alpha=0.6)


def _chosen(
    axes: Axes,
    places: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    number: int,
    *,
    aside: float,
) -> None:
    """A star at the chosen point, and beside it what it reaches on the test split."""
    color = COLORS[number % len(COLORS)]
    for at, x, row in zip(places, places + aside, rows, strict=True):
        if not row["chosen"]:
            continue
        axes.plot(at, row[metric], "*", color=color, ms=13, markeredgecolor="0.2", zorder=4)
        value, low, high = (row.get(f"test_{metric}{end}") for end in ("", "_low", "_high"))
        if value is None:
            continue
        if low is not None and high is not None:
            ends = [[max(0, value - low)], [max(0, high - value)]]
            axes.errorbar(x, value, yerr=ends, fmt="none", ecolor=color, capsize=3, zorder=3)
        how: dict[str, Any] = {"color": "white", "markeredgecolor": color, "zorder": 4}
        axes.plot(x, value, "X", ms=8, **how)
