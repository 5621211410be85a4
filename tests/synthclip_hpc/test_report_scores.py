"""Δ_MTL between models of runs and rows of the paper: over what both have, and told where that is not all."""

from __future__ import annotations

from typing import Any

import pytest

from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.chance import chance_level
from synthclip_hpc.evaluation.results import Cell
from synthclip_hpc.reporting.protocols import Measure
from synthclip_hpc.reporting.scores import Scores, compare, find_baseline, paper_scores, scores_of_cells
from tests.synthclip_hpc.report_runs import paper_cells, retrieval, zero_shot


def cells(records: list[dict[str, Any]]) -> list[Cell]:
    return [
        Cell(one["model"]["name"], one["model"]["epoch"], one["dataset"]["name"], one["task"], one["metrics"], one)
        for one in records
    ]


@pytest.mark.parametrize(
    ("model", "baseline", "percent"),
    [
        ("SynthCLIP 3M", "CLIP CC3M", -5.67),
        ("SynthCLIP 8.8M", "CLIP CC12M", -15.04),
        ("SynthCLIP 30M", "CLIP CC3M", 60.08),
        ("SynthCLIP 30M", "CLIP CC12M", 0.17),
        ("Finetuned 10 epochs 8.8M", "CLIP CC12M", 9.25),
        ("Mixed", "CLIP CC12M", 8.46),
    ],
)
def test_rows_of_the_paper_compare_by_their_printed_means(model: str, baseline: str, percent: float) -> None:
    found = compare(paper_scores()[model], paper_scores()[baseline])
    assert found.percent == pytest.approx(percent, abs=0.01)
    assert found.is_whole


def test_a_run_with_all_data_sets_of_the_paper_is_compared_as_a_whole() -> None:
    scores = scores_of_cells("mine", cells(paper_cells("SynthCLIP 30M")))
    found = compare(scores, paper_scores()["CLIP CC12M"])
    # The same figures, but for the rounding of the paper's means.
    assert found.percent == pytest.approx(0.17, abs=0.1)
    assert found.is_whole


def test_a_part_of_the_data_sets_is_compared_over_that_part_and_told() -> None:
    two = [one for one in paper_cells("SynthCLIP 30M") if one["dataset"]["name"] in ("cifar10", "dtd")]
    found = compare(scores_of_cells("mine", cells(two)), paper_scores()["CLIP CC12M"])
    probe = (88.0 + 71.0) / (91.3 + 69.6) - 1
    few = (74.0 + 82.5) / (80.3 + 82.0) - 1
    assert found.percent == pytest.approx(100 * (probe + few) / 2)
    assert found.tasks == ("linear_probe", "few_shot")
    assert not found.is_whole


def test_nothing_in_common_has_no_number() -> None:
    mine = scores_of_cells("mine", cells([zero_shot("glyphs-twemoji", 0.9, 0.99)]))
    found = compare(mine, paper_scores()["CLIP CC12M"])
    assert (found.percent, found.tasks, found.is_whole) == (None, (), False)


def test_two_runs_compare_on_data_sets_of_their_own() -> None:
    first = scores_of_cells("first", cells([zero_shot("glyphs-twemoji", 0.8, 0.9), zero_shot("mine", 0.1, 0.2)]))
    second = scores_of_cells("second", cells([zero_shot("glyphs-twemoji", 0.4, 0.9)]))
    found = compare(first, second)
    assert found.percent == pytest.approx(100.0)
    assert found.tasks == ("zero_shot",)
    assert not found.is_whole  # one task is not the paper's five


def test_a_baseline_of_zero_is_left_out() -> None:
    zero = Scores("zero", {"zero_shot": {Measure("x"): 0.0}})
    assert compare(Scores("mine", {"zero_shot": {Measure("x"): 5.0}}), zero).percent is None


def test_a_baseline_is_found_whatever_its_case_and_a_wrong_one_names_the_nearest() -> None:
    assert find_baseline("synthclip  30m", paper_scores()).name == "SynthCLIP 30M"
    assert find_baseline(None, paper_scores()).name == "CLIP CC12M"
    with pytest.raises(UserError, match=r"report\.baseline=SynthCLP 30M.*did you mean 'SynthCLIP 30M'"):
        find_baseline("SynthCLP 30M", paper_scores())


def test_guessing_is_told_for_every_kind_of_figure() -> None:
    (glyphs, found) = cells([zero_shot("glyphs-twemoji", 0.5, 0.8), retrieval("flickr8k", 0.5, images=1000)])
    assert chance_level(glyphs, "acc1") == pytest.approx(0.01)
    assert chance_level(glyphs, "acc5") == pytest.approx(0.05)
    assert chance_level(found, "image_retrieval_recall@5") == pytest.approx(0.005)
    # One of five captions among the first of 5,000.
    assert chance_level(found, "text_retrieval_recall@1") == pytest.approx(0.001)
    assert chance_level(found, "text_retrieval_recall@5") == pytest.approx(0.005, rel=0.01)
    assert chance_level(found, "std") is None
