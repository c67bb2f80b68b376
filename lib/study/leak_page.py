"""What scripts.leak leaves behind: leak.md and its picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.figures import COLORS, SAMPLE, panels, save
from lib.markdown import escape
from lib.study.page import markdown

SHOWN = 25  # near-duplicates on the page
LONGEST = 90  # letters of a text on the page
MEANS = {
    "majority": "the most frequent training class",
    "hypothesis only": "one of the two texts: no premise was needed for that",
    "words only": "which words are there",
    "overlap": "how many words the two texts share",
    "duration": "how long a clip is",
    "speaker": "who speaks: test speakers train too",
    "transcript": "the words, unheard",
    "mfcc-svm": "the mean sound of a clip; no leak, but a floor",
}


def page(found: Mapping[str, Any], name: str, picture: str) -> str:
    """leak.md: what each split gives away, near-duplicates across splits, the nearest of them.

    Args:
        found: what leak.json holds.
        name: of the corpus.
        picture: file name of the picture beside it.
    """
    parts = [f"# {escape(name)}: what its splits give away\n"]
    parts += [f"**{SAMPLE}**\n"] if found["sample"] else []
    parts += [
        "Test accuracy that is reached without what the task is about, fitted on the training "
        "split; intervals are 95 %, resampling premises or speakers. What stands well above the "
        "majority gives the label away.\n",
        markdown(pd.DataFrame(found["gives_away"], dtype=object)),
    ]
    names = dict.fromkeys(row["from"] for row in found["gives_away"])
    parts += ["\n".join(f"- {name}: {MEANS[name]}" for name in names if name in MEANS) + "\n"]
    parts += [f"- no {escape(reason)}\n" for reason in found["left_out"]]
    parts += [f"![What splits give away]({picture})\n", "## Near-duplicates across splits\n"]
    near = found["near"]
    told = ", ".join(f"{what} {least:g}" for what, least in found["thresholds"].items())
    parts += [
        f"Rows of which an earlier split has an equal or similar one (similarity at least: {told}; "
        "from 0 to 1). same_label: how many of these carry its label.\n",
        markdown(pd.DataFrame(near, dtype=object)) if near else "None was looked for.\n",
    ]
    examples = found["examples"][:SHOWN]
    if examples:
        parts += [f"The most similar {len(examples)} of {found['n_examples']}:\n"]
        parts += [markdown(pd.DataFrame([_shortened(row) for row in examples], dtype=object))]
    return "\n".join(parts)


def draw(path: Path, found: Mapping[str, Any], name: str) -> None:
    """Draw the accuracy that each split gives away, with intervals, and its majority as a line.

    Args:
        path: the picture to write.
        found: what leak.json holds.
        name: of the corpus.
    """
    rows = found["gives_away"]
    splits = list(dict.fromkeys(row["split"] for row in rows))
    known = {row["from"] for row in rows} - {"majority"}
    names = [name for name in MEANS if name in known]
    figure, axes_of = panels(len(splits), height=1.5 + 0.42 * len(names), share_y=True)
    figure.set_figwidth(max(6.0, 2.9 * len(splits)))
    for axes, split in zip(axes_of, splits, strict=True):
        of = {row["from"]: row for row in rows if row["split"] == split}
        for place, what in enumerate(names):
            row = of.get(what)
            if row is None:
                axes.text(0.02, place, "not possible", va="center", fontsize=8, color="0.45")
                continue
            value, low, high = row["accuracy"], row["ci_low"], row["ci_high"]
            axes.barh(place, value, color=COLORS[0], height=0.6)
            if low is not None and high is not None:
                ends = np.maximum(0, [[value - low], [high - value]])
                axes.errorbar(value, place, xerr=ends, color="0.2", capsize=3, lw=1.2)
            beside = value if high is None else high
            axes.text(beside + 0.02, place, f"{value:.2f}", va="center", fontsize=8)
        majority = of["majority"]["accuracy"]
        axes.axvline(majority, color=COLORS[5], linestyle="dashed", linewidth=1.2)
        axes.set_title(f"split {split}" if len(splits) > 1 else "test split", fontsize=10)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(0, 1.12)
        axes.set_xlabel(f"test accuracy; majority {majority:.2f} dashed", fontsize=9)
        axes.grid(axis="y", visible=False)
    axes_of[0].invert_yaxis()
    save(figure, path, f"{name}: reached without what the task is about", sample=found["sample"])


def nearest_first(
    pairs: Sequence[Mapping[str, Any]], frame: pd.DataFrame, *, what: str, text: str, split: str
) -> list[dict[str, Any]]:
    """Near-duplicates as rows for leak.json: ids and labels of both, and their texts.

    Args:
        pairs: as lib.study.leak.across gives them.
        frame: the rows of the corpus, with id, label and the column `text`.
        what: was compared.
        text: the column that shows what they are.
        split: name of the split.
    """
    columns = {name: frame[name].astype(str).tolist() for name in ("id", "label", text)}
    found = []
    for pair in pairs:
        row: dict[str, Any] = {"what": what, "split": split}
        row |= {name: pair[name] for name in ("similarity", "equal", "seen", "asked")}
        for key, at in (("", pair["row"]), ("other_", pair["other"])):
            row |= {f"{key}{name}": columns[name][at] for name in ("id", "label")}
            row[f"{key}text"] = columns[text][at]
        found.append(row)
    return found


def _shortened(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts fit a table, with yes and no for true and false."""

    def cell(value: Any) -> Any:
        if isinstance(value, bool):
            return "yes" if value else "no"
        long = isinstance(value, str) and len(value) > LONGEST
        return f"{value[:LONGEST]}…" if long else value

    return {name: cell(value) for name, value in row.items()}
