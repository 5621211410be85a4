"""How much work cells are thought to be, and how that shares them out."""

from __future__ import annotations

from typing import Any

import pytest

from sharding.deal import deal
from synthclip_hpc.evaluation.costs import costs_of


def cell(model: str, dataset: str, task: str, images: dict[str, int], classes: int = 10, **parameters: Any) -> dict:
    return {
        "model": model,
        "dataset": dataset,
        "task": task,
        "images": images,
        "classes": classes,
        "parameters": parameters,
    }


BOTH = {"train": 50_000, "test": 10_000}


def test_features_count_with_the_first_cell_that_wants_them():
    first, again, other_layer, other_model = costs_of(
        [
            cell("a", "cifar10", "linear_probe", BOTH, layer="pre"),
            cell("a", "cifar10", "few_shot", BOTH, layer="pre", episodes=100),
            cell("a", "cifar10", "zero_shot", {"test": 10_000}),
            cell("b", "cifar10", "few_shot", BOTH, layer="pre", episodes=100),
        ]
    )
    assert first > 60_000 > 20_000 > other_layer > 10_000 > 1000 > again
    assert other_model == pytest.approx(again + 60_000, rel=0.05)


def test_more_classes_episodes_and_images_cost_more():
    small, large = costs_of(
        [cell("a", "x", "zero_shot", {"test": 100}), cell("a", "y", "zero_shot", {"test": 100}, 1000)]
    )
    assert large - small > 900  # prompts of 990 classes, less the opening of the model
    few, many = costs_of(
        [
            cell("a", name, "few_shot", {"train": 9, "test": 9}, layer="pre", episodes=n)
            for name, n in (("x", 10), ("y", 10**6))
        ]
    )
    assert many > 10 * few


def test_a_glyph_set_that_is_not_drawn_yet_has_a_cost():
    (one,) = costs_of([cell("a", "glyphs-twemoji", "zero_shot", {}, 0)])
    assert one > 1000


def test_elements_get_equal_work_not_equal_numbers():
    cells = [cell("a", "imagenet", "zero_shot", {"test": 50_000}, 1000)]
    cells += [cell("a", f"small{number}", "zero_shot", {"test": 500}) for number in range(20)]
    shares = [deal(range(21), 2, element, weights=costs_of(cells)) for element in range(2)]
    assert shares == [[0], list(range(1, 21))]
