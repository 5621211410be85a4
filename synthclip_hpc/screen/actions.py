"""Actions: each is a command of the toolkit, run as a child process, word for word as it is shown."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    command: str
    code: int
    """Its exit code."""
    output: str
    """What it said, errors included."""


def command_line(verb: str, run: Path, *words: str) -> str:
    """Return a command as a user would type it."""
    return " ".join(["python -m", f"synthclip_hpc.{verb}", *map(shlex.quote, words), f"run={shlex.quote(str(run))}"])


def carry_out(command: str) -> Outcome:
    """Run a command made by `command_line` with this process's own Python, and wait for its end.

    It has no terminal: what would ask refuses, and says which word answers it.
    """
    words: Sequence[str] = shlex.split(command)
    done = subprocess.run(
        [sys.executable, *words[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return Outcome(command, done.returncode, done.stdout)
