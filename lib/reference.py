"""Figures of the reference report and of others, for comparison; none is measured here.

Source: the report that this toolkit implements, on ParsBERT and FarsTail; the FarsTail README
(mBERT 83.4); the FaBERT README (ParsBERT 82.5, XLM-R base 83.5, FaBERT 84.5).
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
