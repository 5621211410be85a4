"""What it costs to keep a large run in sight: the first look, a refresh, an hour of refreshes.

30,000 shards and 1,000 attempts on Slurm. A refresh is counted in CPU time of this process, threads included.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from sharding.directory import PhaseDirectory
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.monitor.watcher import Watcher
from synthclip_hpc.run import Run
from tests.benchmarks.fakes import install, path_with
from tests.benchmarks.measure import Result, environment, sample_process, time_result
from tests.benchmarks.synthetic_life import Life
from tests.benchmarks.synthetic_run import Shape, sacct_answer, squeue_answer, write_run
from tests.fake_slurm import FakeSlurm

SHAPE = Shape(num_shards=30_000, num_done=15_000, num_elements=500)
TIMES = 7
_CHANGED = SHAPE.num_shards // 100
_HOUR_S = 3600.0
_SHARDS_AN_HOUR = 9_000
_FIRST_LOOK = """
import sys, time
from pathlib import Path
from synthclip_hpc.monitor.watcher import Watcher
from synthclip_hpc.run import Run
Watcher(Run(Path(sys.argv[1]))).look()
print(time.process_time())
"""


def measure(folder: Path) -> list[Result]:
    run = write_run(folder / "run", SHAPE)
    slurm = install(folder / "fake", "squeue", "sacct", "sbatch")
    slurm.answer("squeue", {"stdout": squeue_answer(run, SHAPE)})
    slurm.answer("sacct", {"stdout": sacct_answer(SHAPE)})
    words = [sys.executable, "-c", _FIRST_LOOK, str(run.path)]
    samples = sample_process(words, folder, environment(PATH=path_with(slurm)), TIMES)
    cpu_s = statistics.median(float(sample.output) for sample in samples)
    of = f"{SHAPE.num_shards:,} shards, {2 * SHAPE.num_elements:,} attempts"
    life = Life(run, SHAPE)
    with mock.patch.dict(os.environ, {"PATH": path_with(slurm)}):
        return [
            time_result(f"first snapshot, {of}, whole process", samples, 1.5),
            Result("first snapshot: CPU time of the same", f"{cpu_s:.2f} s", "", None),
            *_refreshes(run, life, slurm),
            *_hour(run, life),
        ]


def _refreshes(run: Run, life: Life, slurm: FakeSlurm) -> list[Result]:
    watcher = Watcher(run)
    before, listings = watcher.look(), _counted_listings()
    calls = len(slurm.calls("squeue")), len(slurm.calls("sacct"))
    spent = []
    for _ in range(TIMES):
        life.finish(_CHANGED, time.time())
        seconds, after = _cpu(watcher.look)
        _check(before, after, _CHANGED)
        before = after
        spent.append(seconds)
    middle = statistics.median(spent)
    asked = len(slurm.calls("squeue")) - calls[0], len(slurm.calls("sacct")) - calls[1]
    listed = listings() / TIMES
    return [
        Result(
            f"refresh, {_CHANGED} shards of as many attempts done since",
            f"{1e3 * middle:.0f} ms of CPU (of {TIMES}: {1e3 * min(spent):.0f} to {1e3 * max(spent):.0f})",
            "< 150 ms",
            middle < 0.150,
        ),
        Result("refresh: listings of markers", f"{listed:g}", "exactly 1 (one phase is active)", listed == 1),
        Result(f"{TIMES} refreshes: calls of squeue, sacct", f"{asked[0]}, {asked[1]}", "at most 1, 0",
               asked[0] <= 1 and asked[1] == 0),
    ]  # fmt: skip


def _hour(run: Run, life: Life) -> list[Result]:
    """Look as often as the watcher wants to be asked, for an hour of the run's own time."""
    begin = now = time.time()
    watcher = Watcher(run, clock=lambda: now)
    watcher.look()
    memory = _resident_bytes()
    spent, looks, finished = 0.0, 0, 0
    while now < begin + _HOUR_S:
        now += watcher.pace_s
        due = int((now - begin) / _HOUR_S * _SHARDS_AN_HOUR) - finished
        life.finish(due, now)
        finished += due
        seconds, _ = _cpu(watcher.look)
        spent, looks = spent + seconds, looks + 1
    share, grown = spent / (now - begin), _resident_bytes() - memory
    what = f"an hour of it ({looks} refreshes, {_SHARDS_AN_HOUR:,} shards done), replayed"
    return [
        Result(what, f"{100 * share:.2f} % of a core", "< 1 %", share < 0.01),
        Result("an hour of it: memory more at its end", f"{grown / 1e6:.0f} MB", "< 30 MB", grown < 30e6),
    ]


def _check(before: Snapshot, after: Snapshot, num_changed: int) -> None:
    """A fast refresh that has missed something must not pass."""
    [old], [new] = ([one for one in each.stages if one.name == "captions"] for each in (before, after))
    found = new.shards_done - old.shards_done, new.items_done - old.items_done > 0, new.running
    if found != (num_changed, True, SHAPE.num_elements):
        raise RuntimeError(f"{num_changed} shards were finished; the refresh shows {found}")


def _cpu(look: Callable[[], Snapshot]) -> tuple[float, Snapshot]:
    begin = time.process_time()
    snapshot = look()
    return time.process_time() - begin, snapshot


def _counted_listings() -> Callable[[], int]:
    """Count from now on how often markers are listed; returns who tells how often they were."""
    name = "marked_shards"
    count, real = [0], PhaseDirectory.marked_shards

    def counted(directory: PhaseDirectory) -> set[int]:
        count[0] += 1
        return real(directory)

    def stop() -> int:
        setattr(PhaseDirectory, name, real)
        return count[0]

    setattr(PhaseDirectory, name, counted)

    return stop


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
