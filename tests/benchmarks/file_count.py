"""How many files a finished phase leaves: a shared file system counts them, and its users have a quota."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sharding.journal import read_events
from slurm.onemachine import down, missing_programs, up
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import all_submissions
from tests.benchmarks.bank import write_bank
from tests.benchmarks.measure import Result, command, environment, run_process

NUM_SHARDS = 1000
SHARD_ITEMS = 5
ELEMENTS = 8
WORKERS = 2


@dataclass(frozen=True)
class FileCount:
    """Files of one finished phase, and what they may number."""

    files: int
    shards: int
    attempts: int
    """Lives of elements and of the seal job."""
    elements: int
    submissions: int

    @property
    def budget(self) -> int:
        """Output and marker a shard; journal and log an attempt; 4 an element; 3 a submission."""
        return 2 * self.shards + 2 * self.attempts + 4 * self.elements + 3 * self.submissions


def count_files(run: Run, stage: str, phase: str, num_shards: int) -> FileCount:
    """Count all files that one phase of a run has left: its own, its logs, its submissions."""
    directory = run.phase(stage, phase)
    submissions = [one for one in all_submissions(run) if (one.stage, one.phase) == (stage, phase)]
    places = [directory.path, run.logs(stage), *(one.path for one in submissions)]
    begun = [name for name in directory.attempts() if read_events(directory.journal_path(name))[0]]
    return FileCount(
        files=sum(len(names) for place in places for _, _, names in os.walk(place)),
        shards=num_shards,
        attempts=len(begun),
        elements=sum(one.num_elements for one in submissions),
        submissions=len(submissions),
    )


def measure(folder: Path) -> list[Result]:
    bank = write_bank(folder / "bank.txt", NUM_SHARDS)
    words = [f"concepts.bank={bank}", f"captions.per_concept={SHARD_ITEMS}", f"captions.shard_items={SHARD_ITEMS}"]
    results = [_result("local", folder, [*words, "cluster=local", f"workers={WORKERS}"], environment())]
    missing = missing_programs()
    if missing:
        return [*results, Result("files, Slurm", f"not measured: no {', '.join(missing)}", "-", None)]
    # Its path holds Unix sockets and must be short: not below `folder`.
    place = Path(tempfile.mkdtemp(prefix="sl-bench-"))
    try:
        lab = up(place / "lab", nodes=2, cpus=ELEMENTS // 2)
        try:
            cluster = ["cluster=slurm", "slurm.profile=onemachine", f"slurm.elements={ELEMENTS}"]
            env = environment() | lab.environment()
            results.append(_result("Slurm", folder, [*words, *cluster], env))
        finally:
            down(place / "lab")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return results


def _result(name: str, folder: Path, words: list[str], env: dict[str, str]) -> Result:
    run = Run(folder / f"run-{name}")
    run_process(command("submit", "stage=captions", "wait=true", f"run={run.path}", *words), folder, env)
    if not run.phase("captions", "write").seal_path.exists():
        raise RuntimeError(f"{name}: the run has ended and is not sealed")
    found = count_files(run, "captions", "write", NUM_SHARDS)
    what = f"files, {NUM_SHARDS:,} shards, {found.elements} elements, {found.attempts} attempts, {name}"
    return Result(what, f"{found.files:,}", f"<= {found.budget:,}", found.files <= found.budget)
