"""Finding the checkpoint to go on from, and reading it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding import files
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.checkpoints.checking import read_manifest, verify
from synthclip_hpc.training.checkpoints.layout import (
    STATE,
    Broken,
    Manifest,
    newest_first,
    published_name,
)
from synthclip_hpc.training.checkpoints.saving import tell_on_stderr

_NUM_LOOKS = 5


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint whose files were compared with their checksums in this process."""

    path: Path
    manifest: Manifest

    @property
    def step(self) -> int:
        return self.manifest.step


@dataclass(frozen=True)
class Listed:
    """What a checkpoint says of itself; its files were not looked at."""

    path: Path
    step: int
    epoch: float
    samples: int
    marked: bool
    saved_at: float
    """Unix seconds."""
    size_bytes: int

    def age_s(self, now: float | None = None) -> float:
        """Return how long ago the state was taken, in seconds."""
        return (time.time() if now is None else now) - self.saved_at


def newest_valid(
    folder: Path, *, plan_hash: str, inputs_hash: str, tell: Callable[[str], None] = tell_on_stderr
) -> Checkpoint | None:
    """Return the newest whole checkpoint of a plan and a data set; None when there are no checkpoints at all.

    Each is read from end to end, from the newest down; a broken one is told and skipped. Raises UserError when all are
    broken, and when the newest whole one belongs to another plan or data set.
    """
    for _ in range(_NUM_LOOKS):
        broken, num_gone = [], 0
        for _step, path in newest_first(folder, files.list_directory(folder)):
            try:
                manifest = verify(path)
            except Broken as error:
                broken.append(f"{path.name}: {error}")
                continue
            except FileNotFoundError:
                num_gone += 1
                continue
            for text in broken:
                tell(f"BROKEN CHECKPOINT skipped: {folder}/{text}; going on from {path.name}")
            _check_owner(path, manifest, plan_hash, inputs_hash)
            return Checkpoint(path, manifest)
        # Those gone were removed while we looked, by an attempt that has newer ones: a new listing shows these.
        if not num_gone:
            break
    else:
        raise UserError(f"{folder}: another attempt goes on removing checkpoints; try again when it has ended")
    if not broken:
        return None
    raise UserError(
        f"{folder}: no checkpoint can be used:\n" + "".join(f"  {text}\n" for text in broken) + "Restore one of them "
        f"from a copy, or move the folders away (mv {folder} {folder}.broken) to start training anew"
    )


def open_checkpoint(folder: Path, step: int, *, plan_hash: str, inputs_hash: str) -> Checkpoint:
    """Verify one checkpoint: for ranks that are told by rank 0 which one to take.

    Raises UserError when this process does not find it whole, or of another plan or data set.
    """
    path = folder / published_name(step)
    try:
        manifest = verify(path)
    except (Broken, FileNotFoundError) as error:
        raise UserError(
            f"{path} cannot be used here ({error}) though rank 0 found it whole: is {folder} on a file system that all "
            "nodes share?"
        ) from error
    _check_owner(path, manifest, plan_hash, inputs_hash)
    return Checkpoint(path, manifest)


def load_state(checkpoint: Checkpoint, map_location: Any = "cpu") -> dict[str, Any]:
    """Return the saved state, its tensors on `map_location`, a device or its name. No code of the file is run.

    States for a GPU are mapped instead of read, so that the ranks of a node share one copy in memory. On the CPU they
    are read: mapped tensors would live on in the optimiser after the file is removed. Raises UserError for a file that
    holds other things than tensors and plain values.
    """
    import torch

    on_cpu = torch.device(map_location).type == "cpu"
    path = checkpoint.path / STATE
    try:
        state: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True, mmap=not on_cpu)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors and plain values: this program did not write it. Nothing of it was run; "
            f"move {checkpoint.path} away to go on from the checkpoint before"
        ) from error
    return state


def list_checkpoints(folder: Path) -> list[Listed]:
    """Return the published checkpoints, the newest first, from their manifests alone; unreadable ones are left out."""
    listed = []
    for step, path in newest_first(folder, files.list_directory(folder)):
        try:
            manifest = read_manifest(path)
        except (Broken, FileNotFoundError):
            continue
        facts = (manifest.epoch, manifest.samples, manifest.marked, manifest.saved_at, manifest.size_bytes)
        listed.append(Listed(path, step, *facts))
    return listed


def _check_owner(path: Path, manifest: Manifest, plan_hash: str, inputs_hash: str) -> None:
    if manifest.plan_hash != plan_hash:
        what, theirs, ours = "plan", manifest.plan_hash, plan_hash
    elif manifest.inputs_hash != inputs_hash:
        what, theirs, ours = "data set", manifest.inputs_hash, inputs_hash
    else:
        return
    raise UserError(
        f"{path} belongs to another {what}: it has {theirs}, this run has {ours}. Training cannot go on from it; to "
        "start from trained weights with a new schedule give a new run train.init=PATH, such as RUN/train/export, or "
        f"move {path.parent} away to start anew"
    )
