"""A snapshot in words."""

from __future__ import annotations

import dataclasses
import io
import time

import pytest
from rich.console import Console

from synthclip_hpc.monitor.notes import duration, notes_of, span, straggler_in_words, training_in_words, wait_in_words
from synthclip_hpc.monitor.parts import Alarm, Hours, Span, Straggler, TrainingStatus, Wait
from synthclip_hpc.monitor.snapshot import PhaseStatus, Snapshot, Source
from synthclip_hpc.monitor.sums import sum_stage, unreadable
from synthclip_hpc.monitor.view import render

TRAINING = TrainingStatus(150, 400, 1.5, 4, 2.25, 900.0, 0.1, (), 120, 90.0, 0, 30.0, 240.0, 1.0)
BUSY: PhaseStatus = dataclasses.replace(
    unreadable("fit", ""),
    state="running",
    items_total=4,
    running=2,
    concurrency_full=8,
    preemptions=1,
    failures=2,
    unfit_nodes=1,
    eta_now=Span(60.0, 120.0),
    eta_full=Span(30.0, 31.0),
    hours=Hours("GPU", 1.5, Span(3.0, 4.0), "this phase's own attempts"),
    stragglers=(Straggler(7, "1_0_0", "n1", 400.0, 4.0, 1.0, "slow"),),
)


def snapshot(phase: PhaseStatus = BUSY) -> Snapshot:
    alarms = (Alarm("stuck", "train/fit", "[bold]1 job[/bold] will never start"),)
    stages = (sum_stage("train", [phase]),)
    return Snapshot("/run", 0.0, stages, True, {"files": Source(0.0, None)}, alarms, TRAINING)


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "-"), (0.4, "0s"), (59.6, "1m 00s"), (3700, "1h 01m"), (200_000, "2d 07h")]
)
def test_a_duration_has_two_units_at_most(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_a_range_that_reads_alike_is_one_time() -> None:
    assert (span(None), span(Span(3600.0, 3610.0)), span(Span(60.0, 90.0))) == ("-", "1h 00m", "1m 00s to 1m 30s")


def test_the_notes_of_a_stage_tell_causes_cost_concurrency_stragglers_and_training() -> None:
    [stage] = snapshot().stages
    assert notes_of(stage, snapshot()) == [
        "attempts ended early: 1 preemption, 1 unfit node, 2 failures",
        "with all 8 at once: 30s to 31s",
        "GPU hours: 1.5 used, 3.0 to 4.0 expected in all (this phase's own attempts)",
        "1 behind, worst shard 7: 1_0_0 on n1 is at it for 6m 40s, 4.0 times the median",
        "step 150 of 400, epoch 1.50 of 4; loss 2.2500; 900 samples/s; checkpoint of step 120, 1m 30s old; "
        "4m 30s lost to interruptions",
    ]


def test_a_training_of_unknown_length_says_less() -> None:
    bare = dataclasses.replace(
        TRAINING, total_steps=None, loss=None, samples_per_s=None, checkpoint_step=None, lost_work_s=0, lost_waiting_s=0
    )
    assert training_in_words(bare) == "step 150, epoch 1.50 of 4"


def test_a_wait_tells_when_the_first_is_expected_to_start() -> None:
    at = time.mktime((2026, 11, 21, 18, 30, 0, 0, 0, -1))
    wait = Wait("Priority", "others are before it", 3, at, False)
    assert wait_in_words(wait) == "3 jobs wait: others are before it; expected to start Sat 18:30"
    assert wait_in_words(dataclasses.replace(wait, jobs=1, starts=None)) == "1 job waits: others are before it"


def test_a_silent_attempt_is_told_by_its_silence() -> None:
    silent = Straggler(7, "1_0_0", "", 900.0, None, 600.0, "silent")
    assert straggler_in_words(silent) == "shard 7: 1_0_0 on ? was not heard of for 10m 00s"


@pytest.mark.parametrize("columns", [20, 80, 160])
def test_the_view_fits_any_terminal_and_shows_alarms_as_they_are_written(columns: int) -> None:
    out = io.StringIO()
    Console(file=out, width=columns).print(render(snapshot()))
    assert max(map(len, out.getvalue().splitlines())) <= columns
    assert "[bold]1 job[/bold]" in " ".join(out.getvalue().split())
    if columns > 100:
        assert "1m 00s to 2m 00s" in out.getvalue()
