"""How far a training is, from events written by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from synthclip_hpc.monitor.story import Story
from synthclip_hpc.monitor.training import POINTS, TrainingBook


def life(name: str, started: float, *, heard: float, reason: str | None = None) -> Story:
    return Story(name, started=started, heard=heard, ended=heard if reason else 0.0, end_reason=reason)


def steps(book: TrainingBook, story: Story, *told: tuple[float, int], **more: Any) -> None:
    for at, step in told:
        book.took_steps(story, {"event": "training", "time": at, "step": step, "loss": 1 / step, **more})


def saved(book: TrainingBook, story: Story, at: float, step: int, error: str | None = None) -> None:
    book.saved(story, {"event": "checkpoint", "time": at, "step": step, "error": error})


def test_there_is_nothing_before_the_first_word() -> None:
    assert TrainingBook().status([], set(), 40, 100, 0.0) is None


def test_the_newest_word_counts_with_the_last_checkpoint_and_its_age() -> None:
    book, story = TrainingBook(), life("1_0_0", 1.0, heard=100.0)
    steps(book, story, (50.0, 100), (60.0, 150), epoch=1, samples_per_s=9.0, data_wait_s=0.1)
    saved(book, story, 55.0, 120)
    saved(book, story, 58.0, 140, error="No space left")
    found = book.status([story], {"1_0_0"}, 4, 100, 100.0)
    assert found is not None
    assert (found.step, found.total_steps, found.epoch, found.epochs) == (150, 400, 1.5, 4)
    assert (found.loss, found.samples_per_s, found.data_wait_s, found.told_age_s) == (1 / 150, 9.0, 0.1, 40.0)
    assert (found.checkpoint_step, found.checkpoint_age_s, found.checkpoints_failed) == (120, 45.0, 1)
    assert (found.lost_work_s, found.lost_waiting_s) == (0.0, 0.0)


def test_without_the_size_of_the_data_the_epoch_is_the_one_told() -> None:
    book, story = TrainingBook(), life("1_0_0", 1.0, heard=100.0)
    steps(book, story, (50.0, 100), epoch=3)
    found = book.status([story], {"1_0_0"}, 4, None, 100.0)
    assert found is not None
    assert (found.epoch, found.total_steps) == (3.0, None)


def test_a_loss_that_is_not_finite_is_no_number() -> None:
    book, story = TrainingBook(), life("1_0_0", 1.0, heard=100.0)
    book.took_steps(story, {"event": "training", "time": 1.0, "step": 1, "loss": "nan"})
    found = book.status([story], set(), 4, None, 100.0)
    assert found is not None
    assert (found.loss, found.curve[0].loss) == (None, None)


def test_a_long_curve_is_thinned_out_and_keeps_both_ends() -> None:
    book, story = TrainingBook(), life("1_0_0", 1.0, heard=1e6)
    for step in range(1, 20_001):
        steps(book, story, (10.0 * step, step))
        assert len(book.points) <= 2 * POINTS
    found = book.status([story], {"1_0_0"}, 40, None, 2e5)
    assert found is not None
    curve = [point.step for point in found.curve]
    assert POINTS // 2 <= len(curve) <= POINTS
    assert (curve[0], curve[-1], curve == sorted(set(curve))) == (1, 20_000, True)
    assert max(b - a for a, b in itertools.pairwise(curve)) < 200


def test_steps_after_the_checkpoint_that_training_went_on_from_leave_the_curve() -> None:
    book = TrainingBook()
    first, second = life("1_0_0", 1.0, heard=110.0, reason="notice"), life("1_0_1", 300.0, heard=400.0)
    steps(book, second, (350.0, 60), (360.0, 70))
    # Read later, though it was before.
    steps(book, first, (50.0, 50), (100.0, 100))
    found = book.status([first, second], {"1_0_1"}, 4, None, 400.0)
    assert found is not None
    assert (found.step, [point.step for point in found.curve]) == (70, [50, 60, 70])


def test_an_interruption_costs_the_work_since_the_checkpoint_and_the_time_until_the_next_step() -> None:
    book = TrainingBook()
    first, second = life("1_0_0", 1.0, heard=110.0, reason="notice"), life("1_0_1", 300.0, heard=400.0)
    steps(book, first, (50.0, 50), (100.0, 100))
    saved(book, first, 70.0, 70)
    steps(book, second, (350.0, 80))
    found = book.status([first, second], {"1_0_1"}, 4, None, 400.0)
    assert found is not None
    assert (found.lost_work_s, found.lost_waiting_s) == (30.0, 240.0)


def test_the_time_left_is_that_of_the_last_minutes_and_that_of_the_whole_way() -> None:
    book = TrainingBook()
    first, second = life("1_0_0", 1.0, heard=110.0, reason="notice"), life("1_0_1", 900.0, heard=1200.0)
    steps(book, first, (10.0, 10), (100.0, 100))
    steps(book, second, (1000.0, 110), (1110.0, 230))
    found = book.status([first, second], {"1_0_1"}, 4, 100, 1200.0)
    assert found is not None
    assert found.eta is not None
    # 170 steps are left: 120 in the last 110 s, 220 in the 1,100 s since the first word.
    assert (found.eta.low, found.eta.high) == pytest.approx((170 * 110 / 120, 170 * 1100 / 220))


def test_one_word_foretells_nothing() -> None:
    book, story = TrainingBook(), life("1_0_0", 1.0, heard=100.0)
    steps(book, story, (50.0, 100))
    found = book.status([story], {"1_0_0"}, 4, 100, 100.0)
    assert found is not None
    assert found.eta is None
