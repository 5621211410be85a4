"""Rates, times and costs: from hand-made numbers."""

from __future__ import annotations

import pytest

from synthclip_hpc.monitor.parts import Hours, Span
from synthclip_hpc.monitor.rates import Effort, Pace, hours, pace, present_since, time_left, worked_s
from synthclip_hpc.monitor.story import Story
from synthclip_hpc.monitor.tally import MINUTES, Tally

NOW = 600_000.0
"""A whole minute."""


def test_the_time_left_lies_between_the_last_minutes_and_the_whole_life() -> None:
    # 4 attempts make 8 items/s now, and over their whole lives 1 item/s each.
    assert time_left(800, 2.0, 1.0, 4) == Span(100.0, 200.0)


def test_at_full_concurrency_each_more_attempt_counts_as_one_that_runs() -> None:
    assert time_left(800, 2.0, 1.0, 16) == Span(25.0, 50.0)


@pytest.mark.parametrize(("present", "per_attempt"), [(None, None), (0.0, None)])
def test_nothing_is_foretold_before_anything_was_made(present: float | None, per_attempt: float | None) -> None:
    assert time_left(800, present, per_attempt, 4) is None


def test_one_known_rate_gives_a_range_without_width() -> None:
    assert time_left(800, None, 2.0, 4) == Span(100.0, 100.0)


def test_expected_hours_are_those_used_and_those_of_what_is_left_at_both_costs() -> None:
    spent = Effort(items=3600, attempt_s=3600.0, device_s=7200.0)
    found = hours("GPU", spent, 1800, Pace(4, 4.0, 4), (9.0, 9.0))
    # 2 device seconds an item so far, 1 now.
    assert found == Hours("GPU", 2.0, Span(2.5, 3.0), "this phase's own attempts")


def test_before_the_first_item_the_estimate_of_the_stage_tells() -> None:
    found = hours("GPU", Effort(), 3600, Pace(), (0.5, 1.5))
    assert (found.used, found.expected) == (0.0, Span(0.5, 1.5))
    assert "estimate" in found.source


def test_what_is_done_costs_what_it_has_cost() -> None:
    assert hours("CPU", Effort(10, 3600.0, 3600.0), 0, Pace(), (1.0, 1.0)).expected == Span(1.0, 1.0)


def test_throughput_is_told_by_the_minute_since_the_start() -> None:
    tally = Tally()
    for minute, items in ((-3, 60), (-2, 120), (0, 600)):
        tally.items += items
        tally.made(NOW + 60 * minute, items)
    assert tally.throughput(NOW, NOW - 180) == (1.0, 2.0, 0.0)
    assert len(tally.throughput(NOW, NOW - 1e6)) == MINUTES
    assert tally.rate(NOW + 60, NOW - 1e6) == pytest.approx(780 / 240)
    assert tally.rate(NOW + 60, NOW) == pytest.approx(780 / 60)


def at_work(
    name: str, started: float, items_a_minute: int, *, ready_s: float | None = 60.0, ahead_s: float = 0
) -> Story:
    """An attempt that began so many seconds before or after NOW, and makes as many items in each minute once ready."""
    story = Story(name, submission="1", started=NOW + started + ahead_s, heard=NOW + ahead_s, ready_s=ready_s)
    story.clock.arrived(story.heard, None, NOW)
    first = int((NOW + started + (ready_s or 0.0)) // 60)
    for minute in range(first, int(NOW // 60)):
        if items_a_minute:
            story.tally.items += items_a_minute
            story.tally.made(60.0 * minute, items_a_minute)
    return story


def test_the_pace_is_that_of_those_who_run_each_since_it_was_ready() -> None:
    # 90 of 100 have been preempted a moment ago: what they made in the last minutes is not that of those who are left.
    left = [at_work(f"1_{n}_0", -3600, 60) for n in range(10)]
    found = pace(left, {"1": 2}, NOW)
    assert (found.attempts, found.devices) == (10, 20)
    assert found.per_attempt == pytest.approx(60 * 4 / 240)
    # A thousand start, of which nothing is known yet: they are not taken for idle.
    starting = [at_work(f"2_{n}_0", -20, 0, ready_s=None) for n in range(1000)]
    assert pace([*left, *starting], {"1": 2}, NOW) == found
    # Of those who are ready for two minutes, two minutes count.
    assert pace([at_work("3_0_0", -180, 60)], {}, NOW).per_attempt == pytest.approx(1.0)
    # Whoever has been ready for long without an item makes nothing.
    assert pace([*left, at_work("4_0_0", -3600, 0)], {"1": 2}, NOW).per_attempt == pytest.approx(10 / 11)


def test_the_pace_is_the_same_on_a_node_whose_clock_is_ahead() -> None:
    assert pace([at_work("1_0_0", -180, 60, ahead_s=900)], {}, NOW).per_attempt == pytest.approx(1.0)


def test_the_time_before_a_resume_does_not_dilute_the_present_rate() -> None:
    before = Story("1_0_0", started=NOW - 9000, heard=NOW - 600)
    after = Story("2_0_0", started=NOW - 100, heard=NOW - 1)
    assert present_since([before, after], {"2_0_0"}, NOW) == NOW - 100
    # What has ended within the last minutes has made some of what is counted.
    just_ended = Story("1_1_0", started=NOW - 9000, heard=NOW - 60)
    assert present_since([before, just_ended, after], {"2_0_0"}, NOW) == NOW - 9000
    assert present_since([before], set(), NOW) == NOW


def test_idle_time_before_a_repair_is_no_work_and_attempts_side_by_side_count_once() -> None:
    lives = [(0.0, 100.0), (50.0, 120.0), (60.0, 70.0), (5000.0, 5010.0)]
    stories = [Story(f"1_{n}_0", started=NOW + began, ended=NOW + end) for n, (began, end) in enumerate(lives)]
    assert worked_s([*stories, Story("1_9_0", ended=NOW), Story("2_seal_0", started=NOW, ended=NOW + 900)]) == 130.0
