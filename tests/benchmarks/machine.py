"""Where a measurement was made: without it a figure means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.measure import REPOSITORY


def describe(folder: Path) -> str:
    """One line: CPU model, cores, memory, file system of `folder`, Python."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    bytecode = "no bytecode cache" if sys.dont_write_bytecode else "bytecode cache"
    return (
        f"{_cpu_model()}, {cores} cores, {memory_bytes / 2**30:.0f} GiB, {_file_system(folder)}; "
        f"Python {platform.python_version()} ({bytecode})"
    )


def commit() -> str:
    """The commit, with `+` when files differ from it."""
    found = _git("rev-parse", "--short=12", "HEAD")
    return f"{found}+" if _git("status", "--porcelain", "--untracked-files=no") else found


def load() -> str:
    """The load averages over 1 and 5 minutes: other work on the machine disturbs every figure."""
    return "load {:.2f} {:.2f}".format(*os.getloadavg()[:2])


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system that holds `folder`: the mount with the longest matching path."""
    found = ("", "unknown file system")
    for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, place, kind, *_ = line.split()
        if folder.is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, kind)
    return found[1]


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
