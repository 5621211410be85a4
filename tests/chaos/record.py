"""Keeping a campaign's table beside the benchmarks, with where and when it was made."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.chaos.product import ROOT

RESULTS = ROOT / "tests" / "benchmarks" / "RESULTS.md"
HEADING = "## Chaos"


def append(text: str, command: str, path: Path = RESULTS) -> None:
    """Add the table below the heading, newest first; the heading is made when it is not there."""
    entry = (
        f"{HEADING}\n\n### {time.strftime('%Y-%m-%d %H:%M')}, {machine()}, commit {commit()}\n\n`{command}`\n\n{text}\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    before, found, after = old.partition(f"{HEADING}\n")
    new = f"{before}{entry}{after}" if found else f"{old.rstrip()}\n\n{entry}"
    path.write_text(new, encoding="utf-8")


def machine() -> str:
    """CPU model and cores."""
    model = "CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def commit() -> str:
    """The commit of the working tree, marked when files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+changes"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip() or "unknown"
