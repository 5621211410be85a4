import json
from pathlib import Path
from typing import Any

import pytest

from sharding import files
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
    second = publish(directory, b"other", "b", promise="items", inspect=lambda *_: flagged)
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
        publish(directory, attempt.encode(), attempt, promise="items", inspect=lambda *_: COUNTS)

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
    assert adopt(PhaseDirectory(tmp_path), lambda path, *_: path.read_bytes()) is None


def test_a_good_output_without_marker_is_adopted(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    first = publish(directory, b"content")
    directory.marker_path(0).unlink()
    adopted = adopt(directory, lambda *_: COUNTS)
    assert adopted is not None
    assert (adopted.sha256, adopted.counts) == (first.sha256, COUNTS)
    assert is_done(directory, PLAN, 0)


@pytest.mark.parametrize("found", [ValueError("truncated"), Counts(1, 1, 0, {})])
def test_a_bad_output_is_moved_aside_and_the_shard_stays_open(tmp_path: Path, found: Any) -> None:
    def inspect(path: Path, *_: Any) -> Counts:
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
    def inspect(path: Path, *_: Any) -> Counts:
        raise OSError(5, "Input/output error")

    directory = PhaseDirectory(tmp_path)
    publish(directory, b"content")
    with pytest.raises(OSError, match="Input/output"):
        adopt(directory, inspect)
    assert directory.output_shards(".parquet") == {0}


def test_the_shard_and_its_plan_are_told_to_who_inspects(tmp_path: Path) -> None:
    told = []

    def inspect(*given: Any) -> Counts:
        told.append(given)
        return COUNTS

    directory = PhaseDirectory(tmp_path)
    publish(directory, b"content")
    directory.marker_path(0).unlink()
    adopt(directory, inspect)
    assert told == [(directory.data_path(0, ".parquet"), PLAN, PLAN.shard(0))]


@pytest.mark.parametrize("change", [{"plan_hash": "f" * 64}, {"shard": 1}])
def test_an_output_whose_marker_speaks_of_another_plan_or_shard_is_moved_aside_with_it(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    directory = PhaseDirectory(tmp_path)
    publish(directory, b"content")
    path = directory.marker_path(0)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    kept = {b"content", path.read_bytes()}
    assert adopt(directory, lambda *_: COUNTS) is None
    assert {path.read_bytes() for path in (tmp_path / "bad").iterdir()} == kept
    assert (directory.output_shards(".parquet"), directory.marked_shards()) == (set(), set())


def test_a_kill_while_a_foreign_output_is_moved_aside_never_lets_it_be_adopted(tmp_path: Path) -> None:
    num_killed = 0
    for call in range(100):
        directory = PhaseDirectory(tmp_path / str(call))
        publish(directory, b"foreign")
        path = directory.marker_path(0)
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "plan_hash": "f" * 64}))
        killed = not run(Process(kill_at_call=call), lambda: adopt(directory, lambda *_: COUNTS))  # noqa: B023
        num_killed += killed
        assert adopt(directory, lambda *_: COUNTS) is None
        assert not is_done(directory, PLAN, 0)
        if not killed:
            break
    assert num_killed >= 5


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 1}'])
def test_an_output_with_a_torn_marker_is_adopted(tmp_path: Path, content: bytes) -> None:
    directory = PhaseDirectory(tmp_path)
    first = publish(directory, b"content")
    directory.marker_path(0).write_bytes(content)
    adopted = adopt(directory, lambda *_: COUNTS)
    assert adopted is not None
    assert adopted.sha256 == first.sha256
    assert is_done(directory, PLAN, 0)


@pytest.mark.parametrize("links", [True, False])
def test_an_undisturbed_output_is_read_twice_its_own_file_and_the_published_one(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    checksum = files.checksum

    def note(path: Path) -> files.Checksum:
        read.append(path.parent.parent.name)
        return checksum(path)

    monkeypatch.setattr(files, "checksum", note)
    with running(Process(links=links)):
        publish(PhaseDirectory(tmp_path), b"content")
    assert read == ["partial", "data"]


def test_the_winner_clears_away_what_others_left_of_its_shard_and_of_no_other(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    kept = [directory.partial_path(1, "a"), directory.staged_path(10000, "a", ".parquet")]
    for path in (directory.partial_path(0, "b"), directory.staged_path(0, "c", ".parquet"), *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"work")
    publish(directory, b"content")
    assert sorted(path for path in (tmp_path / "partial").rglob("*.*")) == kept


@pytest.mark.parametrize("promise", ["bytes", "items"])
def test_a_loser_whose_file_the_winner_cleared_away_gets_the_winners_marker(tmp_path: Path, promise: str) -> None:
    directory = PhaseDirectory(tmp_path)
    first = publish(directory, b"content", "a", promise=promise)
    gone = directory.staged_path(0, "b", ".parquet")
    facts: dict[str, Any] = {"inputs_hash": "inputs", "promise": promise, "provenance": {}}
    assert publish_shard(directory, PLAN, 0, gone, COUNTS, **facts) == first


def test_a_missing_file_is_an_error_when_no_one_has_done_the_shard(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    facts: dict[str, Any] = {"inputs_hash": "inputs", "promise": "bytes", "provenance": {}}
    with pytest.raises(FileNotFoundError):
        publish_shard(directory, PLAN, 0, directory.staged_path(0, "b", ".parquet"), COUNTS, **facts)


@pytest.mark.parametrize("links", [True, False])
def test_counts_belong_to_the_output_that_stays_in_any_order_of_two_attempts(tmp_path: Path, links: bool) -> None:
    """Outputs of different counts: what the marker says must be what the published file holds."""
    of = {b"fast": COUNTS, b"late": Counts(2, 1, 1, {"flagged": 1})}

    def body(number: int, content: bytes) -> None:
        publish(
            PhaseDirectory(tmp_path / str(number)),
            content,
            content.decode(),
            promise="items",
            counts=of[content],
            inspect=lambda path, *_: of[files.read_file(path)],
        )

    alone = Process(links=links)
    assert run(alone, lambda: body(-1, b"late"))
    number = 0
    for first in range(1, len(alone.calls) + 1, 2):
        for second in range(1, len(alone.calls) + 8, 2):
            number += 1
            bodies = [lambda n=number, c=content: body(n, c) for content in (b"late", b"fast")]
            raised = run_interleaved(
                [Process(links=links), Process(links=links)], bodies, [(0, first), (1, second), (0, 1000)]
            )
            directory = PhaseDirectory(tmp_path / str(number))
            assert raised == [None, None]
            assert read_marker(directory.marker_path(0)).counts == of[directory.data_path(0, ".parquet").read_bytes()]
            assert verify(directory, PLAN) == []
