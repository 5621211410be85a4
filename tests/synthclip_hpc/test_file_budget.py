"""How many files a phase leaves behind: they count against a quota, and a shared file system suffers from each."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.bank import write_bank
from tests.benchmarks.file_count import FileCount, count_files
from tests.synthclip_hpc.app import App, spawn

NUM_SHARDS = 20


def test_a_finished_phase_keeps_to_its_budget_of_files(app: App, tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.txt", NUM_SHARDS)
    words = [f"concepts.bank={bank}", "captions.per_concept=3", "captions.shard_items=3", "workers=2"]
    outcome = spawn("submit", "stage=captions", "cluster=local", "wait=true", f"run={app.path}", *words, cwd=tmp_path)
    assert outcome.code == 0, outcome
    found = count_files(app.run, "captions", "write", NUM_SHARDS)
    assert (found.shards, found.elements, found.submissions) == (NUM_SHARDS, 2, 1)
    assert found.files <= found.budget
    assert not (app.path / "captions/write/partial").exists()
    for shard in range(NUM_SHARDS):
        (app.path / "captions/write/data/000" / f"{shard:05d}.extra").touch()
    one_more_each = count_files(app.run, "captions", "write", NUM_SHARDS)
    assert one_more_each.files == found.files + NUM_SHARDS > found.budget


def test_the_budget_is_the_one_promised() -> None:
    found = FileCount(files=0, shards=1000, attempts=9, elements=8, submissions=1)
    assert found.budget == 2000 + 9 * 2 + 8 * 4 + 3
