"""Where workers are going to run, as far as it is known before they do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

_DEVICES = Path("/dev")


@dataclass(frozen=True)
class Place:
    """The node of a job, or this machine."""

    cluster: str
    num_gpus: int
    """GPUs of a job, or of this machine."""
    python: list[str] | None = None
    """Command that starts python there; None = the python that submits."""
    container: str | None = None
    num_nodes: int = 1
    """Nodes of a job."""


def local_place() -> Place:
    """Return this machine as a place to work."""
    return Place("local", num_gpus=count_gpus(_DEVICES, os.environ))


def devices_of_worker(number: int, gpus: int, given: str | None) -> str:
    """Return CUDA_VISIBLE_DEVICES for worker `number` (from 0) of several on one machine, each with so many GPUs."""
    first = number * gpus
    if given is None:
        return ",".join(str(gpu) for gpu in range(first, first + gpus))
    return ",".join([word.strip() for word in given.split(",") if word.strip()][first : first + gpus])


def count_gpus(devices: Path, environment: Mapping[str, str]) -> int:
    """Count the GPUs that a program started here would see: NVIDIA's, else AMD's, fewer if the environment says so."""
    num_gpus = sum(1 for path in devices.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit())
    if not num_gpus and (devices / "kfd").exists():
        num_gpus = sum(1 for _ in devices.glob("dri/renderD*"))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not num_gpus:
        return num_gpus
    # What comes after a number that cannot be is not looked at: -1 is the usual way to say none.
    named = list(takewhile(_is_device, (word.strip() for word in visible.split(","))))
    # Parts of a GPU have no device files of their own.
    return len(named) if any(word.startswith("MIG-") for word in named) else min(num_gpus, len(named))


def _is_device(word: str) -> bool:
    return word.isdigit() or word.startswith(("GPU-", "MIG-"))
