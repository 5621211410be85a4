"""Actions: each is a command of the toolkit, run as a child process, word for word as it is shown."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
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


@dataclass
class Action:
    """A command that the user has said yes to."""

    command: str
    has_begun: bool = False
    outcome: Outcome | None = None
    """None until it has ended."""

    def carry_out(self) -> Outcome:
        """Run it, and wait for its end. Raises OSError when it cannot be run."""
        self.has_begun = True
        try:
            self.outcome = carry_out(self.command)
        except OSError:
            self.has_begun = False
            raise
        return self.outcome

    def told(self) -> str:
        """Return in a line what has become of it."""
        if self.outcome is not None:
            return f"ran: {self.command} (exit code {self.outcome.code})"
        return f"still running: {self.command}" if self.has_begun else f"not run: {self.command}"


def command_line(verb: str, run: Path, *words: str) -> str:
    """Return a command as a user would type it."""
    return " ".join(["python -m", f"synthclip_hpc.{verb}", *map(shlex.quote, words), f"run={shlex.quote(str(run))}"])


def carry_out(command: str) -> Outcome:
    """Run a command made by `command_line` with this process's own Python, and wait for its end.

    It has no terminal: what would ask refuses, and says which word answers it. It goes on to its end when the screen is
    left before: a session of its own, and a file to write to, as a pipe that nobody reads would end it.
    """
    words: Sequence[str] = shlex.split(command)
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [sys.executable, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
        )
        said.seek(0)
        return Outcome(command, done.returncode, said.read().decode("utf-8", "replace"))
