"""What is reported of a set of predictions; every figure can be recomputed from predictions.csv."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)


def summarize(
    labels: np.ndarray, predictions: np.ndarray, *, class_names: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, F1 in its three averages, UAR, per-class scores and the confusion matrix.

    Args:
        labels: (N,) int, the true class of each example, in [0, C).
        predictions: (N,) int, the predicted class.
        class_names: C names; the order of every per-class figure.

    Returns:
        A dict fit for JSON: n, accuracy (papers: WA), uar (papers: UA, balanced accuracy; the mean
        recall of the classes that occur), macro_f1, micro_f1, weighted_f1, per_class (name ->
        precision, recall, f1, n) and confusion (C rows of true, C columns of predicted).
        A class that neither occurs nor is predicted scores 0 and still counts in macro_f1.

    Raises:
        ValueError: if there is no example.
    """
    if len(labels) == 0:
        raise ValueError("no examples to summarize")
    ids = list(range(len(class_names)))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=ids, average=None, zero_division=0
    )
    f1_of = {
        average: float(f1_score(labels, predictions, labels=ids, average=average, zero_division=0))
        for average in ("macro", "micro", "weighted")
    }
    return {
        "n": len(labels),
        "accuracy": float(accuracy_score(labels, predictions)),
        "uar": float(np.mean(recall[support > 0])),
        **{f"{average}_f1": value for average, value in f1_of.items()},
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "n": int(support[i]),
            }
            for i, name in enumerate(class_names)
        },
        "confusion": confusion_matrix(labels, predictions, labels=ids).tolist(),
    }
