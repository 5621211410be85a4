"""Markers of a sealed phase in one file: every reader finds them there, and `repair` gets their files back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sharding import files
from sharding.canonical import canonical_json
from sharding.check import reopen, repair, verify
from sharding.directory import PhaseDirectory
from sharding.folding import FoldRefused, fold_markers, unfold_markers
from sharding.marker import MarkerError, is_done, shard_marker
from sharding.publication import adopt_output
from sharding.seal import collect_seal, load_seal, write_seal
from tests.sharding.faults import Process, run
from tests.sharding.workload import INPUTS_HASH, expected_bytes, make_plan

PLAN = make_plan(num_items=40, shard_items=9)
SHARDS = {0, 1, 2, 3, 4}


def make_sealed(path: Path) -> PhaseDirectory:
    directory = PhaseDirectory(path)
    expected_bytes(directory, PLAN)
    write_seal(directory, PLAN, INPUTS_HASH)
    return directory


@pytest.fixture
def sealed(tmp_path: Path) -> PhaseDirectory:
    return make_sealed(tmp_path)


def own_files(directory: PhaseDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory.path / "markers").rglob("[0-9]*.json")}


def test_after_folding_one_file_says_all_that_the_markers_said(sealed: PhaseDirectory) -> None:
    before = [shard_marker(sealed, shard) for shard in sorted(SHARDS)]
    assert fold_markers(sealed, PLAN) == 5
    assert [path.name for path in (sealed.path / "markers").iterdir()] == ["folded.jsonl"]
    assert [shard_marker(sealed, shard) for shard in sorted(SHARDS)] == before
    assert all(marker.provenance for marker in before)
    assert sealed.marked_shards() == SHARDS
    assert sealed.own_markers() == set()
    assert not sealed.is_untouched()
    assert all(is_done(sealed, PLAN, shard) for shard in SHARDS)
    assert not is_done(sealed, PLAN, 5)
    assert verify(sealed, PLAN) == []
    assert collect_seal(sealed, PLAN, INPUTS_HASH) == load_seal(sealed)


def test_folding_again_changes_nothing(sealed: PhaseDirectory) -> None:
    fold_markers(sealed, PLAN)
    before = sealed.folded_path.stat()
    assert fold_markers(sealed, PLAN) == 0
    assert sealed.folded_path.stat() == before


def test_unfolding_gives_back_the_same_bytes(sealed: PhaseDirectory) -> None:
    before = own_files(sealed)
    fold_markers(sealed, PLAN)
    unfold_markers(sealed)
    assert own_files(sealed) == before
    assert len(before) == 5
    assert not sealed.folded_path.exists()


def test_a_marker_of_its_own_is_newer_than_the_folded_one(sealed: PhaseDirectory) -> None:
    newer = json.loads(sealed.marker_path(1).read_bytes()) | {"provenance": {"attempt": "late"}}
    fold_markers(sealed, PLAN)
    sealed.marker_path(1).parent.mkdir(parents=True)
    sealed.marker_path(1).write_bytes(canonical_json(newer))
    assert shard_marker(sealed, 1).provenance == {"attempt": "late"}
    assert fold_markers(sealed, PLAN) == 1
    assert shard_marker(sealed, 1).provenance == {"attempt": "late"}
    assert sealed.own_markers() == set()


REFUSALS: dict[str, Callable[[PhaseDirectory], object]] = {
    "is not sealed": lambda d: d.seal_path.unlink(),
    "was changed after it was written": lambda d: d.seal_path.write_bytes(d.seal_path.read_bytes() + b" "),
    "is missing": lambda d: d.marker_path(2).unlink(),
    "is not JSON": lambda d: d.marker_path(2).write_bytes(b"{"),
    "does not say what": lambda d: d.marker_path(2).write_bytes(
        d.marker_path(2).read_bytes().replace(shard_marker(d, 2).sha256.encode(), b"c" * 64)
    ),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_markers_that_the_seal_does_not_confirm_stay_files(sealed: PhaseDirectory, reason: str) -> None:
    REFUSALS[reason](sealed)
    before = own_files(sealed)
    with pytest.raises(FoldRefused, match=reason):
        fold_markers(sealed, PLAN)
    assert own_files(sealed) == before
    assert not sealed.folded_path.exists()


def test_folding_killed_anywhere_loses_no_marker_and_is_done_by_the_next(tmp_path: Path) -> None:
    whole = Process()
    for call in range(-1, 200):
        directory = make_sealed(tmp_path / str(call + 1))
        before = [shard_marker(directory, shard) for shard in sorted(SHARDS)]
        process = whole if call < 0 else Process(kill_at_call=call)
        finished = run(process, lambda: fold_markers(directory, PLAN))  # noqa: B023
        assert [shard_marker(directory, shard) for shard in sorted(SHARDS)] == before
        assert directory.marked_shards() == SHARDS
        fold_markers(directory, PLAN)
        assert directory.own_markers() == set()
        assert [shard_marker(directory, shard) for shard in sorted(SHARDS)] == before
        if call == len(whole.calls):
            assert finished
            return
        assert finished == (call < 0)
    raise AssertionError("folding makes more calls than were tried")


@pytest.mark.parametrize("damage", ["output", "seal"])
def test_a_repair_of_a_folded_phase_killed_anywhere_reopens_what_is_bad_and_no_more(
    tmp_path: Path, damage: str
) -> None:
    whole = Process()
    for call in range(-1, 400):
        directory = make_sealed(tmp_path / str(call + 1))
        fold_markers(directory, PLAN)
        if damage == "output":
            directory.data_path(1, ".parquet").write_bytes(b"short")
        else:
            directory.seal_path.write_bytes(b"{")
        problems = verify(directory, PLAN)
        process = whole if call < 0 else Process(kill_at_call=call)
        finished = run(process, lambda: repair(directory, problems))  # noqa: B023
        repair(directory, verify(directory, PLAN))
        done = {shard for shard in range(PLAN.num_shards) if is_done(directory, PLAN, shard)}
        assert done == (SHARDS - {1} if damage == "output" else SHARDS)
        assert not directory.folded_path.exists()
        assert load_seal(directory) is None
        if call == len(whole.calls):
            assert finished
            return
        assert finished == (call < 0)
    raise AssertionError("the repair makes more calls than were tried")


def test_a_damaged_line_costs_its_own_shard_a_second_look_and_no_other(sealed: PhaseDirectory) -> None:
    fold_markers(sealed, PLAN)
    lines = sealed.folded_path.read_bytes().split(b"\n")
    lines[2] = lines[2][:40]
    sealed.folded_path.write_bytes(b"\n".join(lines))
    with pytest.raises(MarkerError, match=r"folded\.jsonl, shard 1"):
        shard_marker(sealed, 1)
    problems = verify(sealed, PLAN)
    assert [problem.shard for problem in problems] == [1]
    assert repair(sealed, problems) == [1]
    assert sealed.own_markers() == SHARDS - {1}

    def count(*_: object) -> object:
        return shard_marker(sealed, 0).counts

    found = adopt_output(
        sealed, PLAN, 1, count, inputs_hash=INPUTS_HASH, promise="bytes", provenance={}  # type: ignore[arg-type]
    )  # fmt: skip
    assert found is not None
    assert verify(sealed, PLAN) == []


def test_a_file_that_is_no_folded_one_holds_no_markers(sealed: PhaseDirectory) -> None:
    fold_markers(sealed, PLAN)
    sealed.folded_path.write_bytes(b"\x00\xff")
    assert sealed.marked_shards() == set()
    with pytest.raises(FileNotFoundError):
        shard_marker(sealed, 0)
    assert len(verify(sealed, PLAN)) == 5


def test_reopening_a_folded_phase_leaves_nothing_done(sealed: PhaseDirectory) -> None:
    fold_markers(sealed, PLAN)
    assert reopen(sealed, PLAN) == sorted(SHARDS)
    assert sealed.marked_shards() == set()
    assert not any(is_done(sealed, PLAN, shard) for shard in SHARDS)
    assert len(list((sealed.path / "bad").iterdir())) == 7  # five outputs, the seal, the folded markers


def test_a_folding_that_meets_a_repair_stops_and_no_marker_is_lost(
    sealed: PhaseDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just before the third file goes, another command takes everything apart."""
    removed: list[Path] = []
    remove = files.remove

    def remove_and_meet(path: Path) -> None:
        if path.name == "00002.json" and not removed:
            removed.append(path)
            unfold_markers(sealed)
            sealed.seal_path.rename(sealed.seal_path.with_name("bad-seal"))
        remove(path)

    monkeypatch.setattr(files, "remove", remove_and_meet)
    assert fold_markers(sealed, PLAN) == 3
    # One that was about to go went: its output is looked at again. All others are there.
    assert sealed.own_markers() == SHARDS - {2}
