"""How well a probe's logits agree with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Metric = Literal["top1", "mean_per_class"]


@dataclass(frozen=True)
class Scores:
    """Fractions. `acc5` is None below 5 classes."""

    acc1: float
    acc5: float | None
    mean_per_class_recall: float
    """Over the classes that have samples: scikit-learn's balanced accuracy, which CLIP_benchmark reports."""
    mean_per_class: float
    """Over all classes, one without samples counting 0: lgssl's."""

    def chosen(self, metric: Metric) -> float:
        """The figure that a data set is judged by."""
        return self.acc1 if metric == "top1" else self.mean_per_class


def measure(logits: Tensor, labels: Tensor, num_classes: int) -> Scores:
    """Return the scores of logits (num_samples, num_classes) and labels (num_samples,) int64."""
    best = logits.topk(min(5, num_classes), dim=1).indices == labels[:, None]
    right = best[:, 0].double()
    totals = torch.bincount(labels, minlength=num_classes)
    recalls = torch.bincount(labels, weights=right, minlength=num_classes) / totals.clamp_min(1)
    return Scores(
        acc1=float(right.mean()),
        acc5=float(best.any(dim=1).double().mean()) if num_classes >= 5 else None,
        mean_per_class_recall=float(recalls[totals > 0].mean()),
        mean_per_class=float(recalls.mean()),
    )
