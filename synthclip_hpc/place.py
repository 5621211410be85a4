"""Where workers are going to run, as far as it is known before they do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """The node of a job, or this machine."""

    cluster: str
    num_gpus: int
    """GPUs of a job, or of this machine."""
    python: list[str] | None = None
    """Command that starts python there; None = the python that submits."""
    container: str | None = None


def local_place() -> Place:
    """Return this machine as a place to work."""
    return Place("local", num_gpus=len(list(Path("/dev").glob("nvidia[0-9]*"))))
