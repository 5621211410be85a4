"""The harness must be able to find what it looks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.chaos.cluster import Life
from tests.chaos.comparison import differences
from tests.chaos.faults import Injection
from tests.chaos.journals import Attempt, Visit
from tests.chaos.lost_work import account
from tests.chaos.scenario import short
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.truth import counts, endings, unexplained

SCENARIO = short(SCENARIOS["captions"]["template"], concepts=250, shard_items=250, batch_items=25, elements=1)
PART = SCENARIO.parts[0]


def attempt(name: str, *visits: Visit, end: str | None = None) -> Attempt:
    started = visits[0].looked_at if visits else 10.0 * int(name[-1]) + 1
    return Attempt(name, {"time": started}, list(visits), 0.0, end, None, False, [])


def test_a_changed_byte_and_a_missing_seal_are_found(tmp_path: Path) -> None:
    for run in ("calm", "other"):
        for stage, phase in SCENARIO.compared:
            (tmp_path / run / stage / phase / "data" / "000").mkdir(parents=True)
            (tmp_path / run / stage / phase / "data" / "000" / "00000.parquet").write_bytes(b"rows")
            (tmp_path / run / stage / phase / "seal.json").write_bytes(b"{}")
    assert differences(tmp_path / "calm", tmp_path / "other", SCENARIO) == []
    (tmp_path / "other/captions/write/data/000/00000.parquet").write_bytes(b"rowS")
    (tmp_path / "other/concepts/read/seal.json").unlink()
    assert differences(tmp_path / "calm", tmp_path / "other", SCENARIO) == [
        "concepts/read/seal.json: missing",
        "captions/write/data/000/00000.parquet: other bytes",
    ]


def test_a_successor_that_begins_before_its_predecessors_last_batch_is_found() -> None:
    first = attempt("1_0_0", Visit(("write", 0), 1.0, 1.1, 0, [(3.0, 25), (5.0, 50)]))
    good = attempt("1_0_1", Visit(("write", 0), 9.0, 9.1, 50, [(20.0, 250)], done_at=20.0), end="completed")
    bad = attempt("1_0_1", Visit(("write", 0), 9.0, 9.1, 0, [(20.0, 250)], done_at=20.0), end="completed")
    assert account([first, good], PART, {"1_0_0": 6.0}, {}).problems == []
    result = account([first, bad], PART, {"1_0_0": 6.0}, {})
    assert result.made_twice == 50
    assert len(result.problems) == 2


def test_more_than_a_batch_in_the_making_is_found() -> None:
    killed = attempt("1_0_0", Visit(("write", 0), 1.0, 1.0, 0, [(6.0, 25), (11.0, 50)]))
    successor = attempt("1_0_1", Visit(("write", 0), 29.0, 29.1, 50, [(49.0, 250)], done_at=49.0), end="completed")
    kept = account([killed, successor], PART, {"1_0_0": 20.0}, {"1_0_0": 16.0})
    assert (kept.problems, kept.cut_off) == ([], {"1_0_0": 20.0})
    lost = account([killed, successor], PART, {"1_0_0": 20.0}, {})
    assert lost.problems == ["1_0_0: 45 items in the making when it was killed"]


def test_where_two_batches_are_open_a_kill_may_cost_both() -> None:
    killed = attempt("1_0_0", Visit(("write", 0), 1.0, 1.0, 0, [(6.0, 25), (11.0, 50)]))
    for ended, problems in ((24.0, []), (25.0, ["1_0_0: 70 items in the making when it was killed"])):
        assert account([killed], replace(PART, batches_open=2), {"1_0_0": ended}, {}).problems == problems


def test_a_stage_that_keeps_no_parts_of_a_shard_makes_it_again_from_the_start() -> None:
    first = attempt("1_0_0", Visit(("verify", 0), 1.0, 1.1, 0, [(3.0, 5)]))
    again = attempt("1_0_1", Visit(("verify", 0), 9.0, 9.1, 0, [(20.0, 25)], done_at=20.0), end="completed")
    result = account([first, again], replace(PART, keeps_parts=False), {"1_0_0": 3.5}, {})
    assert (result.problems, result.made_twice) == ([], 5)
    assert len(account([first, again], PART, {"1_0_0": 3.5}, {}).problems) == 1


def test_two_attempts_at_once_are_accounted_apart() -> None:
    lost = attempt("1_0_0", Visit(("write", 0), 1.0, 1.1, 0, [(3.0, 25), (30.0, 100)]))
    successor = attempt("1_0_1", Visit(("write", 0), 9.0, 9.1, 25, [(40.0, 250)], done_at=40.0), end="completed")
    result = account([lost, successor], PART, {}, {})
    assert (result.problems, result.made_twice, result.made_twice_overlapping) == ([], 0, 75)


def test_an_attempt_that_ends_early_without_a_fault_is_found() -> None:
    lives = {"1_0": [Life("PREEMPTED", 1.0, 5.0, "n1", "0:0"), Life("FAILED", 9.0, 12.0, "n1", "1:0")]}
    told = endings([attempt("1_0_0"), attempt("1_0_1")], [Injection("preempt", 4.0, ["1_0_0"])], lives, set())
    assert counts(told) == {"preemptions": 1, "failures": 1}
    assert unexplained(told) == ["1_0_1 ended (FAILED, failures) and no fault had hit it"]
