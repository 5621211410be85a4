"""How much work cells are thought to be, and how that shares them out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sharding.deal import deal, deal_weighted
from sharding.plan import load_plan
from synthclip_hpc.evaluation.costs import costs_of
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.shares import shares_of


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


def test_the_shares_of_many_elements_are_cut_once_and_are_those_of_each_alone(app, fake_slurm, monkeypatch):
    assert app("submit", "stage=captions", "concepts.limit=30", "captions.shard_items=1", "cluster=slurm").code == 0
    submission, cuts = app.submissions()[-1], []
    phase = dataclasses.replace(find_phase("captions", "write"), weights=lambda plan: [float(n % 7) for n in range(30)])
    plan = load_plan(app.run.phase("captions", "write"))
    assert plan is not None and submission.num_elements > 5
    everyone = range(submission.num_elements)
    alone = {one: shares_of(submission, phase, plan, [one])[one] for one in everyone}

    def counted(*words: Any) -> list[list[int]]:
        cuts.append(words)
        return deal_weighted(*words)

    monkeypatch.setattr("synthclip_hpc.shares.deal_weighted", counted)
    assert shares_of(submission, phase, plan, everyone) == alone
    assert len(cuts) == 1
    assert sorted(shard for share in alone.values() for shard in share) == list(range(30))
    with pytest.raises(ValueError, match="element must be in"):
        shares_of(submission, phase, plan, [0, submission.num_elements])


def test_elements_get_equal_work_not_equal_numbers():
    cells = [cell("a", "imagenet", "zero_shot", {"test": 50_000}, 1000)]
    cells += [cell("a", f"small{number}", "zero_shot", {"test": 500}) for number in range(20)]
    shares = [deal(range(21), 2, element, weights=costs_of(cells)) for element in range(2)]
    assert shares == [[0], list(range(1, 21))]
