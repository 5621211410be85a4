import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharding.canonical import canonical_json
from sharding.check import repair, verify
from sharding.directory import PhaseDirectory
from sharding.seal import load_seal, write_seal
from tests.sharding.faults import Process, run
from tests.sharding.workload import INPUTS_HASH, do_shard, expected_bytes, ignore, make_plan

PLAN = make_plan(num_items=40, shard_items=9)


@pytest.fixture
def sealed(tmp_path: Path) -> PhaseDirectory:
    directory = PhaseDirectory(tmp_path)
    expected_bytes(directory, PLAN)
    write_seal(directory, PLAN, INPUTS_HASH)
    return directory


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[PhaseDirectory], object]] = {
    "is not JSON": lambda d: d.marker_path(1).write_bytes(d.marker_path(1).read_bytes()[:100]),
    "do not add up": lambda d: rewrite(
        d.marker_path(1), counts={"total": 9, "done": 9, "rejected": 1, "rejects": {"a": 1}}
    ),
    "is of plan": lambda d: rewrite(d.marker_path(1), plan_hash="d" * 64),
    "speaks of shard 3": lambda d: rewrite(d.marker_path(1), shard=3),
    "cover 8": lambda d: rewrite(d.marker_path(1), counts={"total": 8, "done": 8, "rejected": 0, "rejects": {}}),
    "its marker is missing": lambda d: d.marker_path(1).unlink(),
    "the output is missing": lambda d: d.data_path(1, ".parquet").unlink(),
    "bytes, its marker says": lambda d: d.data_path(1, ".parquet").write_bytes(b"short"),
    "has sha256": lambda d: flip(d.data_path(1, ".parquet")),
}


def test_a_sound_phase_has_no_problems(sealed: PhaseDirectory) -> None:
    assert verify(sealed, PLAN) == []
    assert repair(sealed, []) == []
    assert load_seal(sealed) is not None


def test_an_unfinished_phase_has_no_problems(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    assert verify(directory, PLAN) == []
    do_shard(directory, PLAN, 3, "1_0_0", ignore)
    assert verify(directory, PLAN) == []


@pytest.mark.parametrize("reason", DAMAGES)
def test_damage_is_found_repaired_and_made_good_with_the_same_seal(sealed: PhaseDirectory, reason: str) -> None:
    seal = load_seal(sealed)
    right = sealed.data_path(1, ".parquet").read_bytes()
    DAMAGES[reason](sealed)
    problems = verify(sealed, PLAN)
    assert [problem.shard for problem in problems] == [1]
    assert reason in problems[0].reason
    files_before = {path.read_bytes() for path in sealed.path.rglob("*") if path.is_file()}

    assert repair(sealed, problems) == [1]
    assert verify(sealed, PLAN) == []
    assert load_seal(sealed) is None
    assert {path.read_bytes() for path in sealed.path.rglob("*") if path.is_file()} == files_before

    do_shard(sealed, PLAN, 1, "2_0_0", ignore)
    assert sealed.data_path(1, ".parquet").read_bytes() == right
    assert write_seal(sealed, PLAN, INPUTS_HASH) == seal
    assert verify(sealed, PLAN) == []


def test_a_damaged_seal_is_found_and_made_anew_without_reopening_a_shard(sealed: PhaseDirectory) -> None:
    seal = load_seal(sealed)
    sealed.seal_path.write_bytes(sealed.seal_path.read_bytes()[:-20])
    problems = verify(sealed, PLAN)
    assert [(problem.shard, problem.path) for problem in problems] == [(None, sealed.seal_path)]
    assert repair(sealed, problems) == []
    assert write_seal(sealed, PLAN, INPUTS_HASH) == seal


def test_a_seal_that_disagrees_with_sound_shards_goes_and_the_shards_stay(sealed: PhaseDirectory) -> None:
    value = json.loads(sealed.seal_path.read_bytes())
    value["shards"][2]["sha256"] = "c" * 64
    sealed.seal_path.write_bytes(canonical_json(value))
    problems = verify(sealed, PLAN)
    assert [(problem.shard, problem.path) for problem in problems] == [(2, sealed.seal_path)]
    assert repair(sealed, problems) == []
    assert verify(sealed, PLAN) == []
    assert sealed.marked_shards() == {0, 1, 2, 3, 4}


def test_a_seal_of_another_plan_is_found(sealed: PhaseDirectory) -> None:
    value = json.loads(sealed.seal_path.read_bytes())
    sealed.seal_path.write_bytes(canonical_json({**value, "plan_hash": "b" * 64}))
    assert ["is of plan" in problem.reason for problem in verify(sealed, PLAN)] == [True]


def test_a_marker_outside_the_plan_is_found(tmp_path: Path) -> None:
    directory = PhaseDirectory(tmp_path)
    bigger = make_plan(num_items=50, shard_items=9)
    do_shard(directory, bigger, 5, "1_0_0", ignore)
    rewrite(directory.marker_path(5), plan_hash=PLAN.hash)
    problems = verify(directory, PLAN)
    assert [(problem.shard, problem.reason) for problem in problems] == [(5, "the plan has only 5 shards")]
    assert repair(directory, problems) == [5]
    assert directory.output_shards(".parquet") == set()


@pytest.mark.parametrize("reason", ["has sha256", "is of plan"])
def test_a_repair_killed_anywhere_is_found_again(tmp_path: Path, reason: str) -> None:
    whole = Process()
    for call in range(-1, 100):
        directory = PhaseDirectory(tmp_path / str(call + 1))
        expected_bytes(directory, PLAN)
        write_seal(directory, PLAN, INPUTS_HASH)
        DAMAGES[reason](directory)
        problems = verify(directory, PLAN)
        process = whole if call < 0 else Process(kill_at_call=call)
        finished = run(process, lambda: repair(directory, problems))  # noqa: B023
        repair(directory, verify(directory, PLAN))
        assert not directory.marker_path(1).exists()
        assert not directory.data_path(1, ".parquet").exists()
        if call == len(whole.calls):
            assert finished
            return
        assert finished == (call < 0)
