"""Zero-shot classification: the nearest class by the mean embedding of its prompts.

`templates=simple7` is the protocol of the paper's Table 1 (its training log), `openai80` that of CLIP_benchmark, so of
Table 9. `classes=` restricts the labels, as ImageNet-A, -R, -O and ObjectNet ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt

from evals.cache import identity_hash
from evals.class_choice import choose_classes
from evals.errors import EvalError
from evals.features import Extraction, Floats, image_features, text_features
from evals.folder import shorten
from evals.model import ClipModel
from evals.settings import ModelAndData, described
from evals.templates import fill, find_templates

if TYPE_CHECKING:
    import torch

PROTOCOL = (
    "CLIP_benchmark 1.6.2 zeroshot_classification: per class, encode every template, L2-normalise each, mean, "
    "L2-normalise; cosine; acc1 and acc5 by top-k, acc5 null below 5 classes; mean_per_class_recall = mean, over the "
    "classes that have images, of the share of their images whose argmax is right"
)
_BLOCK_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Options(ModelAndData):
    """What the task takes."""

    templates: Annotated[str, "folder, openai80, simple7, or a file with one a line, {c} for the class"] = "folder"
    classes: Annotated[
        str, "all; present (those with images); or a file: a JSON list or a line each, numbers or names"
    ] = "all"
    empty_classes: Annotated[bool, "true: classes without an image in this split are no mistake"] = False


@dataclass(frozen=True)
class ZeroShot:
    """Metrics are fractions; acc5 is None below 5 classes."""

    acc1: float
    acc5: float | None
    mean_per_class_recall: float
    recalls: tuple[float | None, ...]
    """Of each class; None for one without images."""
    images: tuple[int, ...]
    """Of each class."""


def classifier(model: ClipModel, names: Sequence[str], templates: Sequence[str], how: Extraction) -> Floats:
    """Return one L2-normalised row for each class, [classes, width]. Equal names have equal rows."""
    import torch
    from torch.nn import functional

    texts = [fill(template, name) for name in names for template in templates]
    features = torch.from_numpy(text_features(model, texts, how))
    each = functional.normalize(features, dim=-1).reshape(len(names), len(templates), -1)
    mean = each.mean(dim=1)
    rows: Floats = (mean / mean.norm(dim=-1, keepdim=True)).numpy()
    return rows


def measure(images: Floats, rows: Floats, labels: npt.NDArray[np.int64]) -> ZeroShot:
    """Return the metrics of image features [n, width], not normalised, and class rows [classes, width].

    Labels are class numbers, [n]. Of classes with exactly equal scores, which equal names give, torch.topk and
    torch.argmax choose: their choice is CLIP_benchmark's, and neither documents it.
    """
    import torch
    from torch.nn import functional

    if not len(images):
        raise ValueError("no images")
    weights = torch.from_numpy(rows).T
    top, best = [], []
    for start in range(0, len(images), _BLOCK_ROWS):
        block = functional.normalize(torch.from_numpy(images[start : start + _BLOCK_ROWS]), dim=-1)
        logits = 100.0 * block @ weights  # the factor moves roundings, so ties, to where the reference has them
        top.append(logits.topk(5 if len(rows) >= 5 else 1, dim=1).indices)
        best.append(logits.argmax(dim=1))
    target = torch.from_numpy(labels)
    correct = torch.cat(top) == target[:, None]
    right = torch.cat(best) == target
    counts, hits = (_per_class(target, of, len(rows)) for of in (torch.ones_like(right), right))
    recalls = [hit / count if count else None for hit, count in zip(hits, counts, strict=True)]
    present = [recall for recall in recalls if recall is not None]
    return ZeroShot(
        acc1=float(correct[:, 0].double().mean()),
        acc5=float(correct.any(dim=1).double().mean()) if len(rows) >= 5 else None,
        mean_per_class_recall=sum(present) / len(present),
        recalls=tuple(recalls),
        images=tuple(counts),
    )


def _per_class(target: torch.Tensor, chosen: torch.Tensor, classes: int) -> list[int]:
    import torch

    counts: list[int] = torch.bincount(target[chosen], minlength=classes).tolist()
    return counts


def run(options: Options) -> dict[str, Any]:
    """Measure a model on a data set; return the result. Raises EvalError."""
    return evaluate(options)[1]


def evaluate(options: Options) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the classes that took part, and the result. Raises EvalError."""
    model, folder, split = options.opened()
    folder.check_labels(split)
    chosen = choose_classes(options.classes, folder, split)
    names = [folder.classnames[number] for number in chosen]
    place = np.full(len(folder.classnames), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    labels = place[split.labels]
    kept = labels >= 0
    empty = [folder.classnames[number] for number in folder.empty_classes(split) if place[number] >= 0]
    if empty and not options.empty_classes:
        raise EvalError(
            f"data={options.data}: {len(empty)} of {len(names)} classes have no image in {split.name}: {shorten(empty)}"
            "; complete the data set, or give classes=present (without these labels) or empty_classes=true (with them)"
        )
    templates = find_templates(options.templates, folder)
    how = options.extraction()
    features = image_features(model, split, ("post",), how)["post"]
    found = measure(features[kept], classifier(model, names, templates, how), labels[kept])
    told = described(options, model, folder, split, how)
    told["provenance"]["templates"] = options.templates
    metrics = {"acc1": found.acc1, "acc5": found.acc5, "mean_per_class_recall": found.mean_per_class_recall}
    return names, {
        "task": Path(__file__).stem,
        "protocol": PROTOCOL,
        "metrics": metrics,
        "templates": {"number": len(templates), "sha256": identity_hash({"templates": list(templates)})},
        "classes": {"number": len(names), "chosen": options.classes, "images_left_out": int(np.sum(~kept))},
        "per_class": {"recall": list(found.recalls), "images": list(found.images)},
        **told,
    }
