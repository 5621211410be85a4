"""A look at a large run: `status --once` with 30,000 shards half done and 1,000 attempts, and what it asks of Slurm."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.fakes import install, path_with
from tests.benchmarks.measure import (
    Result,
    command,
    environment,
    memory_result,
    run_process,
    sample_process,
    time_result,
)
from tests.benchmarks.synthetic_run import Shape, sacct_answer, squeue_answer, write_run

TIMES = 7
FLOOR_S = 1.0
# About 90,000 journal events in all: 15 shards an attempt, four progress events each.
SHAPE = Shape(num_shards=30_000, num_done=15_000, num_elements=500)


def measure(folder: Path) -> list[Result]:
    run = write_run(folder / "run", SHAPE)
    slurm = install(folder / "fake", "squeue", "sacct", "sbatch")
    slurm.answer("squeue", {"stdout": squeue_answer(run, SHAPE)})
    slurm.answer("sacct", {"stdout": sacct_answer(SHAPE)})
    env = environment(PATH=path_with(slurm))
    _check(run_process(command("status", "--json", f"run={run.path}"), folder, env).output)
    before = len(slurm.calls("squeue"))
    samples = sample_process(command("status", "--once", f"run={run.path}"), folder, env, TIMES)
    calls = (len(slurm.calls("squeue")) - before) / (TIMES + 1)
    what = f"status --once, {SHAPE.num_done:,} of {SHAPE.num_shards:,} shards, {2 * SHAPE.num_elements:,} attempts"
    return [
        time_result(what, samples, FLOOR_S),
        memory_result(f"{what}: memory", samples, 400e6),
        Result("status --once: squeue calls", f"{calls:g}", "exactly 1", calls == 1),
    ]


def _check(output: str) -> None:
    """The figures of a status that looked at everything; a fast wrong answer must not pass."""
    [stage] = [one for one in json.loads(output)["stages"] if one["name"] == "captions"]
    lives = SHAPE.num_elements
    wanted = {
        "state": "running",
        "shards_done": SHAPE.num_done,
        "attempts": 2 * lives,
        "running": lives,
        "timeouts": lives // 4,
        "preemptions": lives // 2,
        "node_failures": lives // 4,
        "unknown": 0,
    }
    found = {key: stage[key] for key in wanted}
    if found != wanted:
        raise RuntimeError(f"status says {found}, the run was written as {wanted}")
