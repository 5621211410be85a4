"""What a benchmark hands back, and how a whole process is measured."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_LAUNCHER = Path(__file__).with_name("launcher.py")
_OWN_KEYS = ("SYNTHCLIP_RUN", "SLURM_CONF")
"""What a developer's shell may say and no benchmark must hear."""


@dataclass(frozen=True)
class Result:
    """One line of the table. `passed` is None for a figure without a floor."""

    what: str
    value: str
    floor: str
    passed: bool | None


@dataclass(frozen=True)
class Sample:
    """One run of a process: seconds from start to end, the most memory it or a child of it held, and what it said."""

    seconds: float
    peak_bytes: int
    output: str


def command(verb: str, *argv: str) -> list[str]:
    """One of the application's commands, as a user types it."""
    return [sys.executable, "-m", f"synthclip_hpc.{verb}", *argv]


def environment(**changes: str) -> dict[str, str]:
    """The environment of this process less what would lead the application elsewhere."""
    kept = {key: value for key, value in os.environ.items() if key not in _OWN_KEYS}
    return kept | {"PYTHONPATH": str(REPOSITORY)} | changes


def run_process(words: Sequence[str], folder: Path, env: Mapping[str, str]) -> Sample:
    """Run a command in `folder` to its end. Raises RuntimeError, with what it said, when it fails."""
    report = folder / "sample.json"
    done = subprocess.run(
        [sys.executable, "-IS", str(_LAUNCHER), str(report), *words],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return Sample(**json.loads(report.read_text(encoding="utf-8")), output=done.stdout)


def sample_process(words: Sequence[str], folder: Path, env: Mapping[str, str], times: int) -> list[Sample]:
    """Run a command `times` times, after a first run that only warms the page cache."""
    run_process(words, folder, env)
    return [run_process(words, folder, env) for _ in range(times)]


def time_result(what: str, samples: Sequence[Sample], floor_s: float) -> Result:
    """Judge the median time."""
    seconds = [sample.seconds for sample in samples]
    middle = statistics.median(seconds)
    value = f"{middle:.3f} s (of {len(seconds)}: {min(seconds):.3f} to {max(seconds):.3f})"
    return Result(what, value, f"< {floor_s:g} s", middle < floor_s)


def memory_result(what: str, samples: Sequence[Sample], floor_bytes: float) -> Result:
    """Judge the highest peak."""
    peak = max(sample.peak_bytes for sample in samples)
    return Result(what, f"{peak / 1e6:.0f} MB", f"< {floor_bytes / 1e6:.0f} MB", peak < floor_bytes)
