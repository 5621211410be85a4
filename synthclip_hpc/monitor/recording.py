"""A recorded run: snapshots in order, with what is shown on demand. `status demo=true` plays the one in the package."""

from __future__ import annotations

import dataclasses
import json
import lzma
from dataclasses import dataclass
from pathlib import Path

from synthclip_hpc.errors import UserError
from synthclip_hpc.monitor.decoding import decode
from synthclip_hpc.monitor.parts import ShardRow
from synthclip_hpc.monitor.shards import CaptionRow
from synthclip_hpc.monitor.snapshot import Snapshot

SCHEMA = 1
DEMO = Path(__file__).with_name("demo.json.xz")


@dataclass(frozen=True)
class Frame:
    """What there was to see at one moment."""

    snapshot: Snapshot
    shards: dict[str, tuple[ShardRow, ...]]
    """By `stage/phase`."""
    captions: tuple[CaptionRow, ...]


@dataclass(frozen=True)
class Recording:
    """Frames at equal distances, and the logs as they were at the end."""

    interval_s: float
    frames: tuple[Frame, ...]
    logs: dict[str, str]
    """By attempt."""


def save(recording: Recording, path: Path) -> None:
    """Write a recording; a frame costs about a kilobyte, because most of it is in the frame before."""
    text = json.dumps({"schema": SCHEMA, **dataclasses.asdict(recording)}, separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9))


def load(path: Path) -> Recording:
    """Read a recording. Raises UserError where there is none, or one of another schema."""
    try:
        told = json.loads(lzma.decompress(path.read_bytes()))
        if told["schema"] != SCHEMA:
            raise UserError(f"{path}: a recording of schema {told['schema']}, this version plays {SCHEMA}")
        recording: Recording = decode(Recording, told)
    except (OSError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: no recording that can be played ({error}); install the package anew") from error
    return recording
