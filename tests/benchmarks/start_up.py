"""How long a user waits for `submit --help`."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.measure import Result, command, environment, sample_process, time_result

TIMES = 11
FLOOR_S = 0.35


def measure(folder: Path) -> list[Result]:
    samples = sample_process(command("submit", "--help"), folder, environment(), TIMES)
    return [time_result("submit --help", samples, FLOOR_S)]
