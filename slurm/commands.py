"""Running Slurm's client programs: no shell, a time limit, a fixed locale and time format, and never an exception."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A user's SQUEUE_STATES or SACCT_FORMAT is meant for a terminal; here it would silently change what a query answers.
_USER_DEFAULTS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SCONTROL_")
_MAX_WORDS = 500


@dataclass(frozen=True)
class Answer:
    """What a program said. `error` is None if it ended with exit status 0, else one line that says what went wrong."""

    stdout: str
    stderr: str
    returncode: int | None
    """None when it could not be started or did not end in time."""
    error: str | None


def run_command(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str | None] | None = None
) -> Answer:
    """Run a Slurm program for at most `timeout_s` seconds. A missing or hanging program is an `error` in the answer.

    `environment`: what is other than in this process's environment (None = unset), e.g. another cluster's SLURM_CONF.
    """
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            env=_environment(environment or {}),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer("", "", None, f"{command[0]} did not answer within {timeout_s:g} s")
    except FileNotFoundError:
        return Answer("", "", None, f"{command[0]} is not on the PATH")
    except OSError as error:
        return Answer("", "", None, f"{command[0]} cannot be run: {error.strerror}")
    error_text = None
    if done.returncode != 0:
        words = " ".join(done.stderr.split()) or "it said nothing"
        error_text = f"{command[0]} failed with exit status {done.returncode}: {words[:_MAX_WORDS]}"
    return Answer(done.stdout, done.stderr, done.returncode, error_text)


def parse_time(text: str) -> float | None:
    """Seconds since 1970 from a time column, None for `N/A`, `Unknown` and the like."""
    return float(text) if text.isascii() and text.isdigit() else None


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    wanted = {**os.environ, **changes}
    environment = {
        key: value for key, value in wanted.items() if value is not None and not key.startswith(_USER_DEFAULTS)
    }
    # %s: seconds since 1970, which no time zone and no change to summer time can make ambiguous.
    return environment | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}
