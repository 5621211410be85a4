"""The two-stage search for the cost, its ties included."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

from evals.cost_search import COARSE, fine_costs, search_cost
from tests.evals.probe_tools import recorded


def test_fine_costs_reach_two_decades_either_way_within_the_range():
    assert [len(fine_costs(cost)) for cost in COARSE] == [15, 29, 29, 29, 29, 29, 15]
    costs = fine_costs(1.0)
    assert (costs[0], costs[14], costs[28]) == (1e-2, 1.0, 1e2)
    assert costs[15] / costs[14] == pytest.approx(10 ** (1 / 7))
    assert (fine_costs(1e6)[-1], fine_costs(1e-6)[0]) == (1e6, 1e-6)


@pytest.mark.parametrize("peak", [-5.1, -1.9, 0.1, 1.4, 3.0, 5.7])
def test_a_single_peak_is_found_to_the_nearest_candidate(peak):
    best, _ = search_cost(lambda cost: -abs(math.log10(cost) - peak))
    assert abs(math.log10(best) - peak) <= 1 / 14 + 1e-9


def test_no_cost_is_fitted_twice():
    asked, score = recorded(lambda cost: -abs(math.log10(cost) - 1.4))
    best, tried = search_cost(score)
    assert len(asked) == len(set(asked)) == len(tried)
    assert asked[:7] == list(COARSE)
    assert tried[best] == max(tried.values())


def test_equals_go_to_the_first_coarse_cost_then_left():
    asked, score = recorded(lambda cost: 0.5)
    best, _ = search_cost(score)
    assert best == 1e-6
    # 15 candidates: 3, 7, 11; the left half [:7]: 1, 3, 5; [:3]: 0, 1, 2; [:1].
    candidates = fine_costs(1e-6)
    assert asked[7:] == [candidates[place] for place in (3, 7, 11, 1, 5, 2)]


def test_of_right_and_middle_equal_the_right_half_stays():
    candidates = fine_costs(1.0)
    # Stage 1 leads to 1; of the first candidates 7, 14 and 21 the last two are equal, so [14:] stays, not [7:21].
    scores = {1.0: 0.9, candidates[21]: 0.9}
    asked, score = recorded(lambda cost: scores.get(cost, 0.1))
    best, _ = search_cost(score)
    # 15 candidates from place 14: at 3, 7 and 11, which are 17, 21 and 25 of all.
    assert asked[7:11] == [candidates[place] for place in (7, 21, 17, 25)]
    assert best == 1.0


def test_the_middle_stays_when_it_alone_is_best():
    candidates = fine_costs(1.0)
    asked, score = recorded(lambda cost: -abs(math.log10(cost) - 0.01))
    search_cost(score)
    # [7:21] of 29: 14 candidates, at 3, 7 and 10, which are 10, 14 and 17 of all.
    assert asked[7:11] == [candidates[place] for place in (7, 21, 10, 17)]
