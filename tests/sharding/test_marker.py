import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.directory import PhaseDirectory
from sharding.marker import Counts, CountsError, MarkerError, done_marker, is_done, read_marker
from tests.sharding.workload import do_shard, ignore, make_plan

PLAN = make_plan()


@pytest.fixture
def done(tmp_path: Path) -> PhaseDirectory:
    directory = PhaseDirectory(tmp_path)
    do_shard(directory, PLAN, 0, "1_0_0", ignore)
    return directory


def rewrite(directory: PhaseDirectory, **changes: Any) -> None:
    path = directory.marker_path(0)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def test_a_marker_says_what_was_published(done: PhaseDirectory) -> None:
    marker = read_marker(done.marker_path(0))
    output = done.data_path(0, ".parquet")
    assert marker.size_bytes == output.stat().st_size
    assert (marker.stage, marker.phase, marker.shard, marker.promise) == ("captions", "write", 0, "bytes")
    assert marker.plan_hash == PLAN.hash
    assert marker.counts == Counts(18, 14, 4, {"unusable": 4})
    assert marker.provenance == {"attempt": "1_0_0"}
    assert is_done(done, PLAN, 0)


COUNTS = {"total": 18, "done": 14, "rejected": 4, "rejects": {"unusable": 4}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 2, newer than 1"),
        ({"schema": None}, "'schema'"),
        ({"stage": 1}, "'stage'"),
        ({"phase": None}, "'phase'"),
        ({"shard": "0"}, "'shard'"),
        ({"shard": True}, "'shard'"),
        ({"plan_hash": 1}, "'plan_hash'"),
        ({"inputs_hash": []}, "'inputs_hash'"),
        ({"size_bytes": -1}, "'size_bytes'"),
        ({"size_bytes": 1.5}, "'size_bytes'"),
        ({"sha256": "abc"}, "'sha256'"),
        ({"promise": "some"}, "'promise'"),
        ({"provenance": None}, "'provenance'"),
        ({"counts": None}, "'counts'"),
        ({"counts": {**COUNTS, "total": 17}}, "do not add up"),
        ({"counts": {**COUNTS, "rejects": {"unusable": 3}}}, "do not add up"),
        ({"counts": {**COUNTS, "rejects": {"a": 5, "b": -1}}}, "whole numbers"),
        ({"counts": {**COUNTS, "done": "14"}}, "'done'"),
    ],
)
def test_a_corrupt_marker_is_not_done_and_says_why(done: PhaseDirectory, changes: dict[str, Any], message: str) -> None:
    rewrite(done, **changes)
    with pytest.raises(MarkerError, match=message) as raised:
        read_marker(done.marker_path(0))
    assert "00000.json" in str(raised.value)
    assert not is_done(done, PLAN, 0)


def test_a_marker_torn_at_any_byte_is_not_done(done: PhaseDirectory) -> None:
    path = done.marker_path(0)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        assert not is_done(done, PLAN, 0), length
    path.write_bytes(bytes(len(whole)))
    assert not is_done(done, PLAN, 0)


def test_a_shard_without_marker_or_output_is_not_done(done: PhaseDirectory) -> None:
    output = done.data_path(0, ".parquet")
    output.rename(output.with_suffix(".away"))
    with pytest.raises(MarkerError, match="missing"):
        done_marker(done, PLAN, 0)
    output.with_suffix(".away").rename(output)
    done.marker_path(0).unlink()
    with pytest.raises(MarkerError, match="no marker"):
        done_marker(done, PLAN, 0)


def test_an_output_of_another_size_is_not_done(done: PhaseDirectory) -> None:
    with done.data_path(0, ".parquet").open("ab") as output:
        output.write(b"x")
    with pytest.raises(MarkerError, match="its marker says"):
        done_marker(done, PLAN, 0)


def test_a_marker_of_another_plan_or_shard_is_not_done(done: PhaseDirectory) -> None:
    other = make_plan(model="other")
    with pytest.raises(MarkerError, match=f"not of plan {other.hash}"):
        done_marker(done, other, 0)
    rewrite(done, shard=5)
    with pytest.raises(MarkerError, match="shard 5, not of shard 0"):
        done_marker(done, PLAN, 0)


def test_read_marker_tells_missing_from_corrupt(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_marker(tmp_path / "00000.json")


@given(reasons=st.lists(st.none() | st.sampled_from(["", "too long", "flagged", "empty"])))
def test_counts_of_rows_lose_no_row(reasons: list[str | None]) -> None:
    counts = Counts.of(reasons)
    assert counts.total == len(reasons)
    assert counts.done == sum(not reason for reason in reasons)
    assert list(counts.rejects) == sorted({reason for reason in reasons if reason})


@given(parts=st.lists(st.lists(st.none() | st.sampled_from(["too long", "flagged"]))))
def test_the_sum_of_counts_is_the_count_of_all(parts: list[list[str | None]]) -> None:
    assert Counts.sum(map(Counts.of, parts)) == Counts.of(reason for part in parts for reason in part)


def test_counts_that_do_not_add_up_cannot_be_made() -> None:
    with pytest.raises(CountsError, match="total 3, done 1"):
        Counts(3, 1, 1, {"a": 1})
