"""About how much work each cell is, so that elements get equal shares of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_UNKNOWN_IMAGES = 1000
"""Of a built-in glyph set, which is not made yet when its cells are planned."""
_START = 300.0
"""What any cell costs, in images that go through a model: reading the data set, writing the result."""
_OPENING = 2000.0
"""Opening another model."""
_PROBE_PER_IMAGE = 1.5
"""The search of a linear probe: some hundred passes over features, for each image of train and val."""
_EPISODE = 0.05
_PROMPTS = 40.0
"""Prompts of a class, each about as much as a small part of an image."""
_PROMPT = 0.2


def costs_of(cells: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the cost of each planned cell, in images that go through the model once.

    The features of a split are made by the first cell of its model and data set that wants them, and count there alone.
    """
    found: list[float] = []
    made: set[tuple[str, str, str, str]] = set()
    model = None
    for cell in cells:
        cost = _START + _own_cost(cell)
        if cell["model"] != model:
            model = cell["model"]
            cost += _OPENING
        layer = cell["parameters"].get("layer", "post")
        for split, images in _images(cell).items():
            key = (cell["model"], cell["dataset"], split, layer)
            if key not in made:
                made.add(key)
                cost += images
        found.append(cost)
    return found


def _images(cell: Mapping[str, Any]) -> Mapping[str, int]:
    images: Mapping[str, int] = cell["images"]
    if images:
        return images
    splits = ("train", "test") if "layer" in cell["parameters"] else ("test",)
    return dict.fromkeys(splits, _UNKNOWN_IMAGES)


def _own_cost(cell: Mapping[str, Any]) -> float:
    task, images = cell["task"], _images(cell)
    if task == "linear_probe":
        return _PROBE_PER_IMAGE * sum(images.values())
    if task == "few_shot":
        return _EPISODE * float(cell["parameters"]["episodes"])
    if task == "retrieval":
        return _PROMPT * 5 * images["test"]
    return _PROMPT * _PROMPTS * float(cell["classes"])
