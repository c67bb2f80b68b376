"""Figures of the reference report and of others, for comparison; none is measured here.

Source: the report that this toolkit implements, on ParsBERT and FarsTail and on HuBERT and ShEMO;
of others, the source stands beside each figure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PARSBERT = "HooshvareLab/bert-fa-base-uncased"
FARSTAIL_LABELS = ("e", "c", "n")


@dataclass(frozen=True)
class Variant:
    """What the report prints of one variant's test on FarsTail (1564 pairs)."""

    title: str
    loss: float
    accuracy: float
    macro_f1: float
    micro_f1: float
    weighted_f1: float
    f1: tuple[float, float, float]  # e, c, n
    confusion: tuple[tuple[int, int, int], ...]  # rows true, columns predicted


REPORT: Mapping[str, Variant] = {
    "full": Variant(
        "1 full fine-tuning",
        0.8278,
        0.7589514066,
        0.7591475300,
        0.7589514066,
        0.7604918262,
        (0.76258993, 0.67284523, 0.84200743),
        ((371, 127, 21), (80, 363, 67), (3, 79, 453)),
    ),
    "freeze-9": Variant(
        "2 first 9 layers frozen",
        1.1185,
        0.7301790281,
        0.7283135646,
        0.7301790281,
        0.7297312511,
        (0.75155833, 0.62474645, 0.80863592),
        ((422, 81, 16), (146, 308, 56), (36, 87, 412)),
    ),
    "last-and-embeddings": Variant(
        "3 all frozen but the last layer and the embeddings",
        0.9012,
        0.6176470588,
        0.6075802666,
        0.6176470588,
        0.6100609423,
        (0.67350158, 0.41019956, 0.73903967),
        ((427, 74, 18), (274, 185, 51), (48, 133, 354)),
    ),
    "intermediate": Variant(
        "4 fine-tuning on intermediate layers",
        0.8503,
        0.7493606138,
        0.7520069973,
        0.7493606138,
        0.7529668032,
        (0.78776291, 0.66907776, 0.79918033),
        ((412, 90, 17), (106, 370, 34), (9, 136, 390)),
    ),
    "prune-heads": Variant(
        "5 attention heads removed",
        0.8417,
        0.7122762148,
        0.7180733034,
        0.7122762148,
        0.7192060722,
        (0.73216132, 0.63819095, 0.78386763),
        ((354, 153, 12), (88, 381, 41), (6, 150, 379)),
    ),
}

# Test accuracy of full fine-tuning on FarsTail, by hub id.
PUBLISHED: Mapping[str, float] = {
    PARSBERT: 0.825,
    "FacebookAI/xlm-roberta-base": 0.835,
    "sbunlp/fabert": 0.845,
    "google-bert/bert-base-multilingual-cased": 0.834,
    "bert-base-multilingual-cased": 0.834,
}


@dataclass(frozen=True)
class Published:
    """What others report of a corpus's test split; shares of 1, None where they do not say."""

    system: str
    split: str
    accuracy: float
    uar: float | None = None
    macro_f1: float | None = None
    source: str = ""


EMOBOX = "random 75/25, 2838 clips; test speakers train"
PUBLISHED_ON: Mapping[str, tuple[Published, ...]] = {
    "farstail": (
        Published("mBERT", "FarsTail's own", 0.834, source="the FarsTail README"),
        Published("ParsBERT", "FarsTail's own", 0.825, source="the FaBERT README"),
        Published("XLM-R base", "FarsTail's own", 0.835, source="the FaBERT README"),
        Published("FaBERT", "FarsTail's own", 0.845, source="the FaBERT README"),
    ),
    "shemo": (
        Published(
            "HuBERT-base, fine-tuned",
            "random 40/40/20; test speakers train",
            0.770,
            0.54,
            0.56,
            "the reference report",
        ),
        Published("HuBERT-base, frozen", EMOBOX, 0.812, 0.583, 0.632, "EmoBox, arXiv 2406.07162"),
        Published("WavLM-large, frozen", EMOBOX, 0.871, 0.717, 0.736, "EmoBox, arXiv 2406.07162"),
        Published(
            "Whisper-large-v3, frozen", EMOBOX, 0.896, 0.802, 0.829, "EmoBox, arXiv 2406.07162"
        ),
        Published("emotion2vec", "not stated", 0.800, 0.660, source="arXiv 2312.15185"),
        Published(
            "Yazdani et al.", "k-fold; test speakers train", 0.783, 0.652, source="arXiv 2204.13601"
        ),
        Published(
            "Shayaninasab and BabaAli",
            "random 80/10/10; test speakers train",
            0.82,
            source="arXiv 2402.07326",
        ),
        Published(
            "WavLM-large, four classes",
            "by speaker, four test speakers",
            0.876,
            0.801,
            source="nkululeko",
        ),
    ),
}


# The report's fine-tuned HuBERT-base on ShEMO, tested after its last step on 600 clips.
HUBERT_TEST: Mapping[str, float] = {
    "loss": 0.7562,
    "accuracy": 0.7700,
    "seconds": 41.96,
    "per_second": 14.3,
    "steps_per_second": 7.15,
}


@dataclass(frozen=True)
class Classes:
    """A classification report of the reference report: precision, recall and F1 of each class."""

    n: int
    per_class: Mapping[str, tuple[float, float, float]]
    accuracy: float
    macro_f1: float
    weighted_f1: float


HUBERT_CLASSES: Mapping[str, Classes] = {
    "train": Classes(
        2538,
        {
            "A": (1.00, 1.00, 1.00),
            "N": (0.66, 0.78, 0.71),
            "S": (0.74, 0.52, 0.61),
            "F": (0.67, 0.83, 0.74),
            "W": (0.88, 0.61, 0.73),
            "H": (0.59, 0.69, 0.64),
        },
        0.74,
        0.74,
        0.74,
    ),
    "validation": Classes(
        1200,
        {
            "A": (0.94, 1.00, 0.97),
            "N": (0.80, 0.86, 0.83),
            "S": (0.75, 0.36, 0.48),
            "F": (0.04, 0.06, 0.05),
            "W": (0.69, 0.52, 0.59),
            "H": (0.36, 0.56, 0.44),
        },
        0.78,
        0.56,
        0.77,
    ),
    "test": Classes(
        600,
        {
            "A": (0.90, 1.00, 0.95),
            "N": (0.75, 0.83, 0.79),
            "S": (0.86, 0.40, 0.55),
            "F": (0.0, 0.0, 0.0),
            "W": (0.73, 0.49, 0.59),
            "H": (0.41, 0.55, 0.47),
        },
        0.77,
        0.56,
        0.76,
    ),
}
