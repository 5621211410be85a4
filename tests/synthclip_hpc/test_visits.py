"""Busy time from journals: start-up, interruptions, what was taken over and what was not told are kept apart."""

from __future__ import annotations

import json

import pytest

from sharding.directory import PhaseDirectory
from synthclip_hpc.config import RunConfig, with_values
from synthclip_hpc.foresight.pace import find_pace, other_run
from synthclip_hpc.foresight.visits import Visit, work_of
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import claim


@pytest.fixture
def directory(tmp_path):
    return PhaseDirectory(tmp_path / "phase")


def write(directory: PhaseDirectory, attempt: str, *events: tuple) -> None:
    directory.journals_path.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"time": at, "event": name, **fields}) for at, name, fields in events]
    directory.journal_path(attempt).write_text("\n".join(lines) + "\n")


def start(at: float, submission: str = "00001-render", **more) -> tuple:
    return at, "start", {"submission": submission, **more}


def took(at: float, shard: int, resumed: int = 0) -> tuple:
    return at, "shard_start", {"shard": shard, "resumed_items": resumed}


def progress(at: float, shard: int, items: int) -> tuple:
    return at, "progress", {"shard": shard, "items": items, "new": 1}


def done(at: float, shard: int, total: int, seconds: float, size_bytes: int = 1000) -> tuple:
    return at, "shard_done", {"shard": shard, "total": total, "seconds": seconds, "size_bytes": size_bytes, "new": 1}


def test_a_phase_without_journals_gives_no_work(directory):
    work = work_of(directory)
    assert (work.visits, work.start_ups, work.outputs) == ([], [], {})


def test_a_preempted_shard_gives_two_visits_and_the_wait_between_them_is_in_neither(directory):
    write(directory, "7_0_0", start(100), (103, "ready", {}), took(103, 5), progress(113, 5, 20), progress(123, 5, 40),
          (140, "end", {"reason": "terminated"}))  # fmt: skip
    write(directory, "7_0_1", start(500), (504, "ready", {}), took(505, 5, 40), done(535, 5, 100, 30.5, 700))
    work = work_of(directory)
    assert work.visits == [Visit(5, "00001-render", 20, 10.0), Visit(5, "00001-render", 60, 30.5)]
    assert [one.seconds for one in work.start_ups] == [3.0, 4.0]
    assert (work.outputs[5].items, work.outputs[5].size_bytes) == (100, 700)


def test_what_cost_nothing_or_failed_is_not_counted(directory):
    write(directory, "7_0_0", start(0), (1, "ready", {}),
          took(1, 0), (9, "reused", {"shard": 0, "items": 30}), done(10, 0, 100, 9.0),
          took(10, 1), (19, "reused", {"shard": 1, "items": 100}), done(20, 1, 100, 9.0),
          took(20, 2), progress(25, 2, 50), (30, "shard_failed", {"shard": 2}),
          done(31, 3, 100, 0.001),  # adopted: another attempt's work
          took(31, 4), took(32, 6, 50))  # fmt: skip
    write(directory, "7_seal_0", start(0, role="seal"), took(0, 8), done(9, 8, 10, 9.0))
    assert work_of(directory).visits == [Visit(0, "00001-render", 70, 9.0)]
    assert sorted(work_of(directory).outputs) == [0, 1, 3]


def test_a_journal_that_is_torn_or_of_another_version_is_read_as_far_as_it_goes(directory):
    write(directory, "7_0_0", start(0), took(1, 0), (2, "progress", {"shard": 0}), (3, "news", {}),
          (4, "shard_done", {"shard": 1, "total": "many"}), done(5, 0, 10, 4.0))  # fmt: skip
    with directory.journal_path("7_0_0").open("ab") as file:
        file.write(b'{"event": "shard_do')
    assert work_of(directory).visits == [Visit(0, "00001-render", 10, 4.0)]


def test_epochs_of_a_training_count_from_the_first_word_on_to_the_last(directory):
    # The second attempt goes on from a checkpoint, whatever its shard_start says.
    write(directory, "7_0_0", start(0), took(10, 0), progress(70, 0, 0), progress(170, 0, 1), progress(180, 0, 1),
          progress(270, 0, 2))  # fmt: skip
    write(directory, "7_0_1", start(1000), took(1010, 0), progress(1070, 0, 2), progress(1370, 0, 5),
          done(1380, 0, 5, 370))  # fmt: skip
    assert [(one.items, one.seconds) for one in work_of(directory, is_gang=True).visits] == [(2, 200.0), (3, 300.0)]


RENDER = find_phase("render", "draw")


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.create(RunConfig(), {})
    return run


def test_one_shard_gives_a_wide_range_and_many_equal_ones_a_narrow_one(run):
    directory = run.phase("render", "draw")
    write(directory, "7_0_0", start(0), (2, "ready", {}), took(2, 0), done(12, 0, 100, 10.0))
    one = find_pace(run, RENDER, RunConfig(), 1)
    assert [round(end, 9) for end in one.seconds_per_item] == [0.075, 0.125]
    assert one.start_up_s == (2.0, 2.0)
    assert one.bytes_per_item == (10.0, 10.0)
    assert one.source == "measured: 1 shard of this run"
    many = [event for shard in range(9) for event in (took(10 * shard, shard), done(0, shard, 100, 10.0))]
    write(directory, "7_0_0", start(0), *many)
    nine = find_pace(run, RENDER, RunConfig(), 1)
    assert [round(end, 9) for end in nine.seconds_per_item] == [0.09, 0.11]
    assert nine.source == "measured: 9 shards of this run"
    assert nine.start_up_s == (1.0, 10.0)  # none was told: the guess


def test_another_run_s_figures_come_behind_this_run_s_and_before_the_estimate(tmp_path, run):
    other = Run(tmp_path / "other")
    other.create(RunConfig(), {})
    assert find_pace(run, RENDER, RunConfig(), 1, other).source == "measured: glyphs, one core"
    write(other.phase("render", "draw"), "7_0_0", start(0), took(2, 0), done(12, 0, 100, 10.0))
    assert find_pace(run, RENDER, RunConfig(), 1, other).source == f"measured: 1 shard of {other.path}"
    write(run.phase("render", "draw"), "7_0_0", start(0), took(2, 0), done(12, 0, 100, 30.0))
    found = find_pace(run, RENDER, RunConfig(), 1, other)
    assert found.source == "measured: 1 shard of this run"
    assert sum(found.seconds_per_item) == pytest.approx(0.6)


def test_figures_of_other_settings_are_told_as_such(run):
    write(run.phase("render", "draw"), "7_0_0", start(0), took(2, 0), done(12, 0, 100, 10.0))
    changes = {"render.size": 128, "render.jpeg_quality": 75, "render.reuse": "/elsewhere", "seed": 5}
    source = find_pace(run, RENDER, with_values(RunConfig(), changes), 1).source
    assert source == "measured: 1 shard of this run, which had other render.jpeg_quality, render.size"
    more = with_values(RunConfig(), changes | {"render.style": "openmoji", "render.threads": 2})
    assert find_pace(run, RENDER, more, 1).source.endswith("render.jpeg_quality, render.size, render.style and 1 more")


def test_a_run_to_estimate_from_must_be_there(tmp_path):
    assert other_run(None) is None
    with pytest.raises(ValueError, match=r"estimate_from=.*none: no run there"):
        other_run(str(tmp_path / "none"))


def test_what_another_version_recorded_is_compared_as_far_as_it_goes(run):
    facts = {"cluster": "local", "stage": "render", "phase": "draw", "plan_hash": "", "num_elements": 1}
    for number, settings in enumerate(({"render": {"size": 128, "gone": 1}}, {"render": {"gone": 1}}, {}), start=1):
        submission = claim(run, "render", [0], {**facts, "config": settings})
        assert submission is not None and submission.number == number
    journal = (took(2, 0), done(12, 0, 100, 10.0))
    write(run.phase("render", "draw"), "7_0_0", start(0, "00001-render"), *journal)
    found = find_pace(run, RENDER, RunConfig(), 1)
    assert found.source == "measured: 1 shard of this run, which had other render.size"
    # Figures of submissions with the same settings are preferred to others.
    write(run.phase("render", "draw"), "8_0_0", start(0, "00002-render"), took(2, 1), done(12, 1, 100, 30.0))
    found = find_pace(run, RENDER, RunConfig(), 1)
    assert (found.source, round(sum(found.seconds_per_item), 9)) == ("measured: 1 shard of this run", 0.6)


def test_of_many_starts_the_slowest_are_left_aside(run):
    for number, seconds in enumerate((*[5] * 18, 300, 900)):
        write(run.phase("render", "draw"), f"7_{number}_0", start(0), (seconds, "ready", {}), took(2, number),
              done(12, number, 100, 10.0))  # fmt: skip
    assert find_pace(run, RENDER, RunConfig(), 1).start_up_s == (5.0, 5.0)
