"""What guessing would give: every figure stands beside it."""

from __future__ import annotations

import math

from synthclip_hpc.evaluation.results import Cell


def chance_level(cell: Cell, metric: str) -> float | None:
    """Return the expected value of a metric, a fraction, for a model that knows nothing; None when it is not known."""
    record = cell.record
    if metric in ("acc1", "mean_per_class_recall", "acc5", "accuracy"):
        if cell.task == "few_shot":
            return _one_of(record.get("way"))
        number = record.get("classes", {}).get("number") if "classes" in record else record.get("num_classes")
        among = _one_of(number)
        return among if among is None or metric != "acc5" else min(1.0, 5 * among)
    direction, _, rank = metric.partition("_retrieval_recall@")
    if not rank.isdigit():
        return None
    num_images, num_texts = _number(record, "images"), _number(record, "captions")
    if not num_images or not num_texts:
        return None
    if direction == "image":
        return min(1.0, int(rank) / num_images)
    return _any_of(num_texts, num_texts / num_images, int(rank))


def _one_of(number: object) -> float | None:
    return 1 / number if isinstance(number, int) and number > 0 else None


def _number(record: dict[str, object], key: str) -> int | None:
    for place in (record, record.get("data"), record.get("dataset")):
        if isinstance(place, dict) and isinstance(place.get(key), int):
            return int(place[key])
    return None


def _any_of(items: int, right: float, drawn: int) -> float:
    """Return the chance that `drawn` of `items` hold one of the `right` ones, as many as an image has on average."""
    if drawn >= items:
        return 1.0
    missed = math.prod(max(0.0, (items - right - place) / (items - place)) for place in range(drawn))
    return 1 - missed
