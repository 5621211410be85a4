"""What tests of checkpoints share: savers of one run, small states, and damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from synthclip_hpc.training.checkpoints.loading import Checkpoint, newest_valid
from synthclip_hpc.training.checkpoints.saving import Saver

PLAN, INPUTS = "a" * 64, "b" * 64


def saver(folder: Path, attempt: str = "1_0_0", **changes: Any) -> Saver:
    values = {
        "plan_hash": PLAN,
        "inputs_hash": INPUTS,
        "attempt": attempt,
        "keep": 2,
        "world_size": 1,
        "warn_after_s": None,
    }
    return Saver(folder, **{**values, **changes})


def state(step: int) -> dict[str, Any]:
    return {"model": {"weight": torch.full((64, 64), float(step))}, "step": step, "scale": None}


def save(one: Saver, *steps: int, marked: bool = False) -> None:
    for step in steps:
        one.save(state(step), step=step, epoch=step / 10, samples=8 * step, marked=marked)
    one.wait()


def newest_or_none(folder: Path, told: list[str] | None = None) -> Checkpoint | None:
    return newest_valid(folder, plan_hash=PLAN, inputs_hash=INPUTS, tell=(told if told is not None else []).append)


def newest(folder: Path, told: list[str] | None = None) -> Checkpoint:
    found = newest_or_none(folder, told)
    assert found is not None
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def published(*steps: int) -> list[str]:
    return [f"step-{step:08d}" for step in steps]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])
