"""Rates, times and costs: from hand-made numbers."""

from __future__ import annotations

import pytest

from synthclip_hpc.monitor.parts import Hours, Span
from synthclip_hpc.monitor.rates import Effort, hours, time_left
from synthclip_hpc.monitor.tally import MINUTES, Tally

NOW = 600_000.0
"""A whole minute."""


def test_the_time_left_lies_between_the_last_minutes_and_the_whole_life() -> None:
    # 4 attempts make 8 items/s now, and over their whole lives 1 item/s each.
    assert time_left(800, 8.0, 1.0, 4, 4) == Span(100.0, 200.0)


def test_at_full_concurrency_each_more_attempt_counts_as_one_that_runs() -> None:
    assert time_left(800, 8.0, 1.0, 16, 4) == Span(25.0, 50.0)


@pytest.mark.parametrize(("present", "per_attempt"), [(None, None), (0.0, None)])
def test_nothing_is_foretold_before_anything_was_made(present: float | None, per_attempt: float | None) -> None:
    assert time_left(800, present, per_attempt, 4, 4) is None


def test_one_known_rate_gives_a_range_without_width() -> None:
    assert time_left(800, None, 2.0, 4, 0) == Span(100.0, 100.0)


def test_expected_hours_are_those_used_and_those_of_what_is_left_at_both_costs() -> None:
    spent = Effort(items=3600, attempt_s=3600.0, device_s=7200.0)
    found = hours("GPU", spent, 1800, 4.0, 4, (9.0, 9.0))
    # 2 device seconds an item so far, 1 now.
    assert found == Hours("GPU", 2.0, Span(2.5, 3.0), "this phase's own attempts")


def test_before_the_first_item_the_estimate_of_the_stage_tells() -> None:
    found = hours("GPU", Effort(), 3600, None, 0, (0.5, 1.5))
    assert (found.used, found.expected) == (0.0, Span(0.5, 1.5))
    assert "estimate" in found.source


def test_what_is_done_costs_what_it_has_cost() -> None:
    assert hours("CPU", Effort(10, 3600.0, 3600.0), 0, None, 0, (1.0, 1.0)).expected == Span(1.0, 1.0)


def test_throughput_is_told_by_the_minute_since_the_start() -> None:
    tally = Tally()
    for minute, items in ((-3, 60), (-2, 120), (0, 600)):
        tally.items += items
        tally.made(NOW + 60 * minute, items)
    assert tally.throughput(NOW, NOW - 180) == (1.0, 2.0, 0.0)
    assert len(tally.throughput(NOW, NOW - 1e6)) == MINUTES
    assert tally.rate(NOW + 60, NOW - 1e6) == pytest.approx(780 / 240)
    assert tally.rate(NOW + 60, NOW) == pytest.approx(780 / 60)
