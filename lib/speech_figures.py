"""Pictures of a speech corpus: lengths by class, clips of each speaker, clips of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from lib.figures import COLORS, MAX_CLASSES, class_counts, panels, save

EMOTIONS = {"A": "anger", "N": "neutral", "S": "sadness"}
EMOTIONS |= {"F": "fear", "W": "surprise", "H": "happiness"}
GENDERS = {"F": ("women", COLORS[1]), "M": ("men", COLORS[0]), "": ("sex unknown", COLORS[2])}
MAX_SPEAKERS = 120


def names_of(labels: Sequence[str], corpus: str | None) -> dict[str, str]:
    """Class → what a picture calls it: ShEMO's letters with their emotion, others as they are."""
    return {k: f"{k} {EMOTIONS[k]}" if corpus == "shemo" else k for k in labels}


def durations(
    path: Path, frame: pd.DataFrame, names: Mapping[str, str], *, title: str, sample: bool = False
) -> None:
    """Draw how long the clips of each class are, as boxes from the 5th to the 95th percentile.

    Args:
        path: the picture to write; its suffix says the format.
        frame: a manifest, with seconds and label_filename.
        names: class → its name, in order, as `names_of` gives them.
        title: of the picture.
        sample: whether the data is generated, which the title then says.
    """
    shown = {label: name[:24] for label, name in list(names.items())[:MAX_CLASSES]}
    of_class = frame.groupby("label_filename")["seconds"]
    groups = {name: of_class.get_group(k) for k, name in shown.items() if k in of_class.groups}
    figure, (axes,) = panels(1, height=1.4 + 0.45 * len(groups))
    figure.set_figwidth(7)
    axes.boxplot(
        [seconds.to_numpy() for seconds in groups.values()],
        orientation="horizontal",
        whis=(5, 95),
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": COLORS[4], "edgecolor": "0.3"},
        medianprops={"color": "black", "linewidth": 1.6},
        flierprops={"marker": ".", "markersize": 3, "markeredgecolor": "0.5"},
    )
    ticks = [f"{k} ({len(v)}, median {v.median():.2f} s)" for k, v in groups.items()]
    axes.set_yticks(range(1, len(groups) + 1), ticks, parse_math=False)
    axes.invert_yaxis()
    axes.set_xscale("log")
    low, high = frame["seconds"].min(), frame["seconds"].max()
    marks = [s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low / 1.5 <= s <= high * 1.5]
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
    axes.minorticks_off()
    axes.set_xlabel("seconds; whiskers: 5th to 95th percentile")
    axes.grid(axis="y", visible=False)
    save(figure, path, title, sample=sample)


def speakers(path: Path, frame: pd.DataFrame, *, title: str, sample: bool = False) -> None:
    """Draw how many clips each speaker has, most first, coloured by sex.

    Args:
        path: the picture to write; its suffix says the format.
        frame: a manifest, with speaker and gender.
        title: of the picture.
        sample: whether the data is generated, which the title then says.
    """
    n_clips = frame.groupby("speaker").agg(n=("id", "size"), gender=("gender", "first"))
    n_clips = n_clips.sort_values("n", ascending=False, kind="stable")
    n_all = len(n_clips)
    shown = n_clips.head(MAX_SPEAKERS)
    title = f"{title}, {n_all} speakers" + (f", the first {MAX_SPEAKERS}" * (n_all > MAX_SPEAKERS))
    figure, (axes,) = panels(1, height=3.6)
    figure.set_figwidth(float(np.clip(0.15 * len(shown), 5, 16)))
    colors = [GENDERS[gender][1] for gender in shown["gender"]]
    axes.bar(range(len(shown)), shown["n"].to_numpy(), color=colors, width=0.8)
    axes.set_xticks(range(len(shown)), shown.index, rotation=90, fontsize=7, parse_math=False)
    axes.set_xlim(-0.8, len(shown) - 0.2)
    axes.set_ylabel("clips")
    axes.grid(axis="x", visible=False)
    found = n_clips["gender"].value_counts()
    handles = [
        Patch(color=color, label=f"{name} ({found[gender]})")
        for gender, (name, color) in GENDERS.items()
        if gender in found
    ]
    axes.legend(handles=handles, frameon=False, fontsize=9)
    save(figure, path, title, sample=sample)


def classes(
    path: Path, frame: pd.DataFrame, names: Mapping[str, str], *, title: str, sample: bool = False
) -> None:
    """Draw how many clips each class has, by both label versions where they differ.

    Args:
        path: the picture to write; its suffix says the format.
        frame: a manifest, with label_filename and label_transcript.
        names: class → its name, in order, as `names_of` gives them.
        title: of the picture.
        sample: whether the data is generated, which the title then says.
    """
    versions = {"by file name": frame["label_filename"]}
    if (frame["label_transcript"] == frame["label_filename"]).all():
        versions = {"clips": frame["label_filename"]}
    elif (frame["label_transcript"] != "").any():
        versions["by transcript"] = frame["label_transcript"]
    counts = {
        version: {name: int((labels == label).sum()) for label, name in names.items()}
        for version, labels in versions.items()
    }
    class_counts(path, counts, title=title, sample=sample)
