"""Faults below the worker, which its attempt outlives: a rank or a launcher dies, a checkpoint is damaged."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from slurm.onemachine import LabError, processes
from slurm.onemachine.processes import Process
from tests.chaos.workers import command_line, run_processes

AGENT, RANK = "synthclip_hpc.training.agent", "synthclip_hpc.training.rank"
_DAMAGE_AT = 0.5
"""Where in the file of a checkpoint bytes are flipped, as a part of its length."""


def processes_of(run: Path, attempt: str, module: str) -> list[Process]:
    """The launchers or ranks of an attempt that are alive, on all nodes."""
    found = []
    for status in run_processes(run):
        words = command_line(status.process.pid)
        # What loads data is forked by its rank, and goes by the same words.
        is_forked = words == command_line(status.parent_pid)
        if _module(words) == module and attempt in words and not is_forked:
            found.append(status.process)
    return sorted(found, key=lambda process: process.pid)


def _module(words: Sequence[str]) -> str | None:
    """What python runs by `-m`; the launcher has the ranks' module among its further words."""
    return words[words.index("-m") + 1] if "-m" in words[:-1] else None


def round_at_work(run: Path, attempt: str, timeout_s: float = 90) -> str:
    """Wait until the newest round of an attempt has done a step; return it as `ATTEMPT/ROUND`.

    Kills that come before the first step again and again are bad luck that ends an attempt. Raises LabError.
    """

    def newest() -> Path | None:
        files = sorted((run / "train" / "metrics").glob(f"{attempt}-*.jsonl"), key=_number)
        return files[-1] if files and _has_step(files[-1]) and processes_of(run, attempt, RANK) else None

    if not processes.wait_until(lambda: newest() is not None, timeout_s, poll_s=0.2):
        raise LabError(f"no round of {attempt} did a step in time")
    path = newest()
    if path is None:
        raise LabError(f"the round of {attempt} ended")
    return f"{attempt}/{_number(path)}"


def kill_one_of(run: Path, attempt: str, module: str, choose: Callable[[list[Process]], Process]) -> Process:
    """SIGKILL one launcher or rank of an attempt; raises LabError when there is none."""
    found = processes_of(run, attempt, module)
    if not found:
        raise LabError(f"{attempt} has no {module.rpartition('.')[2]}")
    victim = choose(found)
    victim.send(signal.SIGKILL)
    return victim


def damage_newest_checkpoint(run: Path, spared: set[str]) -> str:
    """Flip bytes in the newest checkpoint, once its ranks are gone; return its name.

    Raises LabError when no other whole one would be left: `spared` are the names of those that were damaged before.
    """
    published = sorted(path for path in (run / "train" / "checkpoints").glob("step-*") if path.name not in spared)
    if len(published) < 2:
        raise LabError(f"only {len(published)} whole checkpoints")
    path = published[-1] / "state.pt"
    with path.open("r+b") as file:
        place = int(path.stat().st_size * _DAMAGE_AT)
        file.seek(place)
        old = file.read(16)
        file.seek(place)
        file.write(bytes(byte ^ 0xFF for byte in old))
    return published[-1].name


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _has_step(path: Path) -> bool:
    return '"lr"' in path.read_text(encoding="utf-8")
