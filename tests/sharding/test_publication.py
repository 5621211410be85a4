from pathlib import Path
from typing import Any

import pytest

from sharding.check import verify
from sharding.directory import PhaseDirectory
from sharding.marker import Counts, CountsError, Marker, is_done, read_marker
from sharding.publication import PublicationConflict, adopt_output, publish_shard
from tests.sharding.faults import Process, run, run_interleaved, running
from tests.sharding.workload import make_plan

PLAN = make_plan(num_items=5, shard_items=2)
COUNTS = Counts(2, 2, 0, {})


def publish(directory: PhaseDirectory, content: bytes, attempt: str = "a", **options: Any) -> Marker:
    source = directory.staged_path(0, attempt, ".parquet")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(content)
    given = {"inputs_hash": "inputs", "promise": "bytes", "provenance": {"attempt": attempt}, **options}
    return publish_shard(directory, PLAN, 0, source, given.pop("counts", COUNTS), **given)


def adopt(directory: PhaseDirectory, inspect: Any) -> Marker | None:
    return adopt_output(directory, PLAN, 0, inspect, inputs_hash="inputs", promise="bytes", provenance={})


def test_the_marker_is_what_was_returned(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    marker = publish(directory, b"content")
    assert read_marker(directory.marker_path(0)) == marker
    assert is_done(directory, PLAN, 0)


def test_the_marker_is_written_after_the_output_and_its_name_are_on_disk(tmp_path: Path) -> None:
    with running(Process()) as process:
        publish(PhaseDirectory(tmp_path), b"content")
    order = [name for name, _ in process.calls if name in ("fsync", "link", "replace")]
    # Output, link, its directory; then marker, rename, its directory.
    assert order == ["fsync", "link", "fsync", "fsync", "replace", "fsync"]


def test_a_loser_with_equal_bytes_leaves_the_winners_marker(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    first = publish(directory, b"content", "a")
    assert publish(directory, b"content", "b") == first
    assert read_marker(directory.marker_path(0)).provenance == {"attempt": "a"}
    assert list((tmp_path / "partial").rglob("*.parquet")) == []


def test_a_loser_marks_the_output_of_a_winner_that_died(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    publish(directory, b"content", "a")
    directory.marker_path(0).unlink()
    assert publish(directory, b"content", "b").provenance == {"attempt": "b"}


def test_different_bytes_under_the_promise_of_bytes_are_a_conflict_with_both_checksums(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    first = publish(directory, b"content", "a")
    with pytest.raises(PublicationConflict) as raised:
        publish(directory, b"other", "b")
    assert first.sha256 in str(raised.value)
    assert "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa" in str(raised.value)
    assert read_marker(directory.marker_path(0)) == first
    assert directory.data_path(0, ".parquet").read_bytes() == b"content"


@pytest.mark.parametrize("winner_died", [False, True])
def test_different_bytes_under_the_promise_of_items_leave_the_first_and_count_it(
    tmp_path: Path, winner_died: bool
) -> None:
    directory = PhaseDirectory(tmp_path)
    flagged = Counts(2, 1, 1, {"flagged": 1})
    first = publish(directory, b"content", "a", promise="items", counts=flagged)
    if winner_died:
        directory.marker_path(0).unlink()
    second = publish(directory, b"other", "b", promise="items", inspect=lambda path: flagged)
    assert (second.sha256, second.counts) == (first.sha256, flagged)
    assert second.provenance == {"attempt": "b" if winner_died else "a"}


def test_different_bytes_that_nobody_can_count_are_a_conflict(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    publish(directory, b"content", "a", promise="items")
    with pytest.raises(PublicationConflict, match="adopt"):
        publish(directory, b"other", "b", promise="items")


@pytest.mark.parametrize("links", [True, False])
def test_a_late_rename_over_a_published_output_leaves_the_marker_that_fits(tmp_path: Path, links: bool) -> None:
    def body(number: int, attempt: str) -> None:
        directory = PhaseDirectory(tmp_path / str(number))
        publish(directory, attempt.encode(), attempt, promise="items", inspect=lambda path: COUNTS)

    alone = Process(links=links)
    assert run(alone, lambda: body(0, "alone"))
    names = [name for name, _ in alone.calls]
    looked = names.index("link" if links else "rename")
    # One has looked and seen no output; the other does any number of steps; then the first one goes on.
    for num_steps in range(1, len(names) + 1):
        bodies = [lambda n=num_steps, a=attempt: body(n, a) for attempt in ("late", "fast")]
        processes = [Process(links=links), Process(links=links)]
        raised = run_interleaved(processes, bodies, [(0, looked), (1, num_steps), (0, 1000)])
        assert raised == [None, None]
        assert verify(PhaseDirectory(tmp_path / str(num_steps)), PLAN) == []


def test_counts_that_lose_an_item_are_refused_before_anything_is_published(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    with pytest.raises(CountsError, match=r"shard 0 .* 2 items .* cover 1"):
        publish(directory, b"content", counts=Counts(1, 1, 0, {}))
    assert directory.output_shards(".parquet") == set()


def test_the_last_shard_has_what_is_left() -> None:
    from sharding.publication import check_counts

    check_counts(PLAN, 2, Counts(1, 1, 0, {}))
    with pytest.raises(CountsError):
        check_counts(PLAN, 2, COUNTS)


def test_there_is_nothing_to_adopt_where_there_is_no_output(tmp_path: Path) -> None:
    assert adopt(PhaseDirectory(tmp_path), Path.read_bytes) is None


def test_a_good_output_without_marker_is_adopted(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    first = publish(directory, b"content")
    directory.marker_path(0).unlink()
    adopted = adopt(directory, lambda path: COUNTS)
    assert adopted is not None
    assert (adopted.sha256, adopted.counts) == (first.sha256, COUNTS)
    assert is_done(directory, PLAN, 0)


@pytest.mark.parametrize("found", [ValueError("truncated"), Counts(1, 1, 0, {})])
def test_a_bad_output_is_moved_aside_and_the_shard_stays_open(tmp_path: Path, found: Any) -> None:
    def inspect(path: Path) -> Counts:
        if isinstance(found, ValueError):
            raise found
        return found

    directory = PhaseDirectory(tmp_path)
    publish(directory, b"content")
    directory.marker_path(0).unlink()
    assert adopt(directory, inspect) is None
    assert [path.read_bytes() for path in (tmp_path / "bad").iterdir()] == [b"content"]
    assert directory.output_shards(".parquet") == set()
    assert not is_done(directory, PLAN, 0)


def test_a_failing_disk_is_not_taken_for_a_bad_output(tmp_path: Path) -> None:
    def inspect(path: Path) -> Counts:
        raise OSError(5, "Input/output error")

    directory = PhaseDirectory(tmp_path)
    publish(directory, b"content")
    with pytest.raises(OSError, match="Input/output"):
        adopt(directory, inspect)
    assert directory.output_shards(".parquet") == {0}
