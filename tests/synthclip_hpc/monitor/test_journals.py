"""What the journals of a phase come to: shards, rates, stragglers, clocks; and that a week costs no more than a day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sharding.journal import read_events
from synthclip_hpc.monitor.book import NUM_CELLS, OpenShards, ShardBook, open_shards
from synthclip_hpc.monitor.clocks import NodeClock
from synthclip_hpc.monitor.journals import PhaseJournals, ShardCounts
from synthclip_hpc.monitor.stragglers import SILENT_S, shard_median_s, stragglers
from tests.synthclip_hpc.monitor.events import NOW, Journals, begun, done, failed, progress, start


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(tmp_path / "captions" / "write")


def test_the_cells_of_the_heat_line_hold_every_shard_once_and_tell_how_it_stands() -> None:
    book = ShardBook(1000)
    finished = {shard: ShardCounts(9, 1) for shard in range(30)}
    book.update(set(range(30)), finished, set())
    cells = book.cells(OpenShards({30: ("a",), 999: ("b",)}, {31: "bad"}))
    assert len(cells) <= NUM_CELLS
    assert [cell.first for cell in cells[1:]] == [cell.stop for cell in cells[:-1]]
    assert (cells[0].first, cells[-1].stop) == (0, 1000)
    for cell in cells:
        assert cell.done + cell.running + cell.failed + cell.pending == cell.stop - cell.first
    assert sum(cell.done for cell in cells) == 30
    assert (cells[3].running, cells[3].failed, cells[-1].running) == (1, 1, 1)
    assert (sum(cell.rejected for cell in cells), book.done, book.rejected) == (30, 270, 30)


def test_a_reopened_shard_leaves_the_counts_and_one_made_again_counts_as_it_is_now() -> None:
    book = ShardBook(10)
    finished = {shard: ShardCounts(10, 0) for shard in range(10)}
    book.update(set(range(10)), finished, set())
    book.update(set(range(9)), finished, set())
    assert (book.done, sum(cell.done for cell in book.cells(OpenShards({}, {})))) == (90, 9)
    finished[9] = ShardCounts(7, 3)
    book.update(set(range(10)), finished, {9})
    assert (book.done, book.rejected) == (97, 3)
    finished[0] = ShardCounts(5, 5)
    book.update(set(range(10)), finished, {0})
    assert (book.done, book.rejected) == (92, 8)


def test_a_shard_has_failed_only_while_nobody_goes_on_with_it(journals: Journals) -> None:
    journals.write("1_0_0", start("1_0_0", -90), begun(0, -80), failed(0, -70), begun(1, -69))
    phase = PhaseJournals(journals.directory)
    phase.refresh(set(), NOW)
    found = open_shards(phase, set(), {"1_0_0"}, 3)
    assert (dict(found.running), dict(found.failed)) == ({1: ("1_0_0",)}, {0: "ValueError: bad"})
    journals.write("1_1_0", start("1_1_0", -60), begun(0, -50))
    phase.refresh(set(), NOW)
    found = open_shards(phase, set(), {"1_0_0", "1_1_0"}, 3)
    assert (sorted(found.running), dict(found.failed)) == ([0, 1], {})
    assert not open_shards(phase, {0, 1}, {"1_0_0", "1_1_0"}, 3).running
    # Interrupted, not failed: it is simply still to be done.
    found = open_shards(phase, set(), set(), 3)
    assert (dict(found.running), dict(found.failed)) == ({}, {})


def test_a_shard_is_slow_beyond_three_times_the_median_and_silent_after_five_minutes(journals: Journals) -> None:
    journals.write("1_0_0", start("1_0_0", -2000, "n1"), *(done(shard, -1900 + shard) for shard in range(5)))
    journals.write("1_0_0", begun(10, -100), progress(10, -2, 5, 5))
    journals.write("1_1_0", start("1_1_0", -2000, "n2"), begun(11, -1000))
    journals.write("1_2_0", start("1_2_0", -2000, "n3"), begun(12, -25), progress(12, -1, 5, 5))
    phase = PhaseJournals(journals.directory)
    marked = set(range(5))
    phase.refresh(marked, NOW)
    running = {"1_0_0", "1_1_0", "1_2_0"}
    median_s = shard_median_s(phase)
    assert median_s == 10.0
    silent, slow = stragglers(phase, open_shards(phase, marked, running, 20), median_s, NOW)
    assert (silent.why, silent.shard, silent.node, silent.silent_s) == ("silent", 11, "n2", 1000.0)
    assert (slow.why, slow.shard, slow.running_s, slow.times_median) == ("slow", 10, 100.0, 10.0)


def test_without_a_median_nothing_is_slow(journals: Journals) -> None:
    journals.write("1_0_0", start("1_0_0", -9000), *(done(shard, -50 + shard) for shard in range(4)))
    journals.write("1_0_0", begun(9, -8000), progress(9, -1, 5, 5))
    phase = PhaseJournals(journals.directory)
    phase.refresh(set(range(4)), NOW)
    assert shard_median_s(phase) is None
    assert stragglers(phase, open_shards(phase, set(range(4)), {"1_0_0"}, 20), None, NOW) == ()


def test_where_no_shard_tells_how_far_it_is_silence_tells_nothing(journals: Journals) -> None:
    journals.write("1_0_0", start("1_0_0", -9000), begun(0, -8000))
    phase = PhaseJournals(journals.directory)
    phase.refresh(set(), NOW)
    assert stragglers(phase, open_shards(phase, set(), {"1_0_0"}, 20), None, NOW) == ()
    journals.write("1_1_0", start("1_1_0", -60), begun(1, -50), progress(1, -40, 5, 5))
    phase.refresh(set(), NOW)
    [silent] = stragglers(phase, open_shards(phase, set(), {"1_0_0", "1_1_0"}, 20), None, NOW)
    assert (silent.shard, silent.why) == (0, "silent")


def test_a_clock_that_is_ahead_gives_no_negative_age_and_its_items_count_as_made_now(journals: Journals) -> None:
    journals.write("1_0_0", start("1_0_0", 500), begun(0, 500), progress(0, 600, 5, 5))
    phase = PhaseJournals(journals.directory)
    phase.refresh(set(), NOW)
    story = phase.stories["1_0_0"]
    assert (story.silent_s(NOW), story.clock.off_s()) == (0.0, 600.0)
    assert phase.rate(NOW, NOW - 100) == pytest.approx(5 / 100)


def test_a_clock_that_is_behind_is_found_out_by_what_arrives_and_makes_nobody_silent(journals: Journals) -> None:
    behind = 2 * SILENT_S
    journals.write("1_0_0", start("1_0_0", -50 - behind), begun(0, -40 - behind))
    phase = PhaseJournals(journals.directory)
    phase.refresh(set(), NOW)
    for look in range(1, 4):
        assert phase.stories["1_0_0"].clock.off_s() == 0.0
        journals.write("1_0_0", progress(0, 10 * look - behind - 1, look, 1))
        phase.refresh(set(), NOW + 10 * look)
    story = phase.stories["1_0_0"]
    assert -behind - 1 <= story.clock.off_s() < -behind + 11
    assert story.silent_s(NOW + 30) == 10.0
    assert stragglers(phase, open_shards(phase, set(), {"1_0_0"}, 5), None, NOW + 30) == ()
    assert phase.rate(NOW + 30, NOW - 50) == pytest.approx(3 / 80)


@pytest.mark.parametrize(("newest", "off"), [(NOW + 4, 0.0), (NOW + 6, 6.0), (NOW - 3600, 0.0)])
def test_a_first_look_can_tell_only_a_clock_that_is_ahead(newest: float, off: float) -> None:
    clock = NodeClock()
    clock.arrived(newest, None, NOW)
    assert clock.off_s() == off


def test_torn_lines_and_unknown_shapes_are_counted_and_the_rest_is_read(journals: Journals) -> None:
    journals.write("1_0_0", start("1_0_0", -50), begun(0, -40))
    path = journals.directory.journal_path("1_0_0")
    with path.open("a") as file:
        file.write('{"event": "progress", "ti\n{"event": "shard_done", "time": 1, "shard": [1]}\n')
    journals.write("1_0_0", progress(0, -1, 5, 5))
    with path.open("a") as file:
        file.write('{"event": "prog')  # the next write completes it
    phase = PhaseJournals(journals.directory)
    phase.refresh(set(), NOW)
    assert (phase.unread, phase.items(set())) == (2, (5, 0))


def test_the_journal_of_an_ended_attempt_is_opened_again_only_once_a_minute(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals.write("1_0_0", start("1_0_0", -50), ("end", -40, {"reason": "notice"}))
    journals.write("1_1_0", start("1_1_0", -50), begun(0, -40))
    opened: list[str] = []

    def counted(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        opened.append(path.stem)
        return read_events(path, offset)

    monkeypatch.setattr("synthclip_hpc.monitor.journals.read_events", counted)
    phase = PhaseJournals(journals.directory)
    for later in (0, 10, 20, 61):
        phase.refresh(set(), NOW + later)
    assert (opened.count("1_0_0"), opened.count("1_1_0")) == (2, 4)


def test_items_of_long_ago_are_counted_without_a_place_in_the_sparkline(journals: Journals) -> None:
    journals.write("1_0_0", start("1_0_0", -9e5), begun(0, -9e5), progress(0, -1900, 5, 5), progress(0, -1000, 7, 2))
    phase = PhaseJournals(journals.directory)
    phase.refresh(set(), NOW)
    tally = phase.stories["1_0_0"].tally
    assert (tally.items, sum(tally.minutes.values()), phase.slices) == (7, 2, {})


def test_memory_does_not_grow_with_the_time_that_a_shard_takes(journals: Journals) -> None:
    journals.write("1_0_0", start("1_0_0", 0), begun(0, 0))
    phase = PhaseJournals(journals.directory)
    sizes = []
    for minute in range(0, 24 * 60, 20):
        journals.write("1_0_0", *(progress(0, 60 * (minute + one), 1, 1) for one in range(20)))
        now = NOW + 60 * (minute + 20)
        phase.refresh(set(), now)
        tally = phase.stories["1_0_0"].tally
        tally.forget(now)
        sizes.append((len(phase.slices) <= 70, len(tally.minutes) <= 31, len(phase.in_progress)))
    assert set(sizes) == {(True, True, 1)}
    assert phase.stories["1_0_0"].tally.items == 24 * 60


def last_words(shard: int, at: float, **more: Any) -> tuple[str, float, dict[str, Any]]:
    """A finished shard all of whose items the last word of progress had told."""
    return ("shard_done", at, {"shard": shard, "done": 10, "rejected": 0, "new": 0, "seconds": 20.0, **more})


@pytest.mark.parametrize("more", [{}, {"adopted": False}])
def test_a_shard_whose_items_were_all_told_before_its_end_counts_as_done_by_its_attempt(
    journals: Journals, more: dict[str, Any]
) -> None:
    told = [(begun(n, -500 + n), progress(n, -400 + n, 10, 10), last_words(n, -300 + n, **more)) for n in range(5)]
    journals.write("1_0_0", start("1_0_0", -600), *(event for shard in told for event in shard))
    phase = PhaseJournals(journals.directory)
    phase.refresh(set(range(5)), NOW)
    assert (phase.stories["1_0_0"].tally.shards_done, shard_median_s(phase)) == (5, 20.0)
    journals.write("1_1_0", start("1_1_0", -400), begun(9, -301), progress(9, -1, 5, 5))
    phase.refresh(set(range(5)), NOW)
    [slow] = stragglers(phase, open_shards(phase, set(range(5)), {"1_1_0"}, 10), shard_median_s(phase), NOW)
    assert (slow.shard, slow.why, slow.times_median) == (9, "slow", 15.0)


@pytest.mark.parametrize("more", [{}, {"adopted": True}])
def test_an_adopted_output_is_nobody_s_work(journals: Journals, more: dict[str, Any]) -> None:
    journals.write("1_0_0", start("1_0_0", -600), *(last_words(shard, -300 + shard, **more) for shard in range(5)))
    phase = PhaseJournals(journals.directory)
    phase.refresh(set(range(5)), NOW)
    assert (phase.stories["1_0_0"].tally.shards_done, shard_median_s(phase)) == (0, None)
    assert phase.items(set(range(5))) == (50, 0)
