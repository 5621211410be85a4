"""What the chaos has revealed, each bug pinned by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sharding import files
from sharding.directory import PhaseDirectory
from sharding.journal import Journal
from slurm.accounting import AccountingRow, AccountingSnapshot
from slurm.attempt import Attempt
from slurm.commands import Answer
from synthclip_hpc import requeueing, sealing
from synthclip_hpc.monitor.causes import explain
from synthclip_hpc.monitor.journals import PhaseJournals, Story
from synthclip_hpc.run import Run


def test_items_are_counted_from_the_attempt_that_got_furthest_whatever_the_order_of_the_journals(
    tmp_path: Path,
) -> None:
    directory = PhaseDirectory(tmp_path)
    # As text "10_0_0" stands before "9_0_0": the older journal is read last.
    older, newer = Journal(directory.journal_path("9_0_0")), Journal(directory.journal_path("10_0_0"))
    older.event("start", job="9", index=0, restart=0)
    older.event("shard_start", shard=0, resumed_items=0)
    older.event("progress", shard=0, items=50, new=50)
    newer.event("start", job="10", index=0, restart=0)
    newer.event("shard_start", shard=0, resumed_items=50)
    newer.event("progress", shard=0, items=125, new=75)
    journals = PhaseJournals(directory)
    journals.refresh(set(), now=0.0)
    assert journals.items(set()) == (125, 0)


@pytest.mark.parametrize(("answer", "is_requeued"), [("1", True), ("2", False), ("", False)])
def test_an_element_without_its_slurmstepd_requeues_itself_unless_its_successor_runs_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, is_requeued: bool
) -> None:
    directory = PhaseDirectory(tmp_path)
    calls: list[str] = []
    monkeypatch.setattr(requeueing, "run_command", lambda *_, **__: Answer(f"{answer}\n", "", 0, None))
    monkeypatch.setattr(requeueing, "requeue", lambda element, timeout_s: calls.append(element))
    run: Any = type("Run", (), {"phase": lambda self, stage, phase: directory})()
    submission: Any = type("Submission", (), {"stage": "captions", "phase": "write"})()
    attempt = Attempt("7", 3, 1, "n1")
    assert requeueing.after_orphaned(run, submission, attempt) is is_requeued
    assert calls == (["7_3"] if is_requeued else [])
    if is_requeued:
        [event] = [json.loads(line) for line in directory.journal_path("7_3_1").read_text().splitlines()]
        assert (event["event"], event["cause"]) == ("requeue", "unknown")


def test_a_life_that_never_reached_its_worker_does_not_shift_the_causes_of_the_others() -> None:
    # Restart 1 was sent to a node that had just been lost: no journal and no record, and the next life is restart 2.
    rows = (
        AccountingRow("1_1", "REQUEUED", 100.0, 110.0, "n1", "0:0"),
        AccountingRow("1_1", "CANCELLED", 140.0, 160.0, "n2", "0:0"),
    )
    stories = [
        Story("1_1_0", job="1", index=1, restart=0, started=101.0, heard=109.0),
        Story("1_1_2", job="1", index=1, restart=2, started=141.0, heard=159.0),
    ]
    counts, _ = explain(stories, set(), lambda jobs: AccountingSnapshot(rows, 200.0, None))
    assert counts == {"requeue": 1, "cancelled": 1}


def test_a_seal_removes_what_those_left_that_were_killed_while_they_wrote_a_small_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = PhaseDirectory(tmp_path / "merge" / "verify")
    for path in (directory.inputs_path, directory.marker_path(0)):
        files.create_file(path, b"{}")
        files._write_temporary(path, b"{")
    for name in ("load_plan", "load_inputs", "collect_seal", "store_seal"):
        monkeypatch.setattr(sealing, name, lambda *_: None)
    monkeypatch.setattr(sealing, "load_plan", lambda _: object())
    sealing.seal_phase(Run(tmp_path), "merge", "verify")
    left = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert left == [directory.inputs_path, directory.marker_path(0)]
