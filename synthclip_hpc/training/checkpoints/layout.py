"""Names inside the folder of checkpoints, and the manifest of one of them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json, fingerprint

SCHEMA = 1
STATE = "state.pt"
MANIFEST = "checkpoint.json"

_PUBLISHED = re.compile(r"step-(\d{8,})")
_TEMPORARY = re.compile(r"\.step-(\d{8,})\..+\.tmp")
_GONE = re.compile(r"\.step-\d{8,}\.[0-9a-f]+\.gone")


class Broken(Exception):
    """A checkpoint that cannot be used; the text is the reason."""


@dataclass(frozen=True)
class FileFacts:
    """What a file of a checkpoint must be."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `checkpoint.json` tells."""

    step: int
    """Optimiser steps done, over all epochs."""
    epoch: float
    """Epochs done, with the part of the one at work."""
    samples: int
    """Samples seen, over all epochs."""
    world_size: int
    plan_hash: str
    inputs_hash: str
    marked: bool
    """To be kept for good."""
    attempt: str
    saved_at: float
    """Unix seconds at which the state was taken."""
    seconds: float
    """How long copying and writing took, up to the manifest."""
    files: Mapping[str, FileFacts]
    versions: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        return sum(facts.bytes for facts in self.files.values())

    def to_bytes(self) -> bytes:
        """Return the file's content: one JSON object with a fingerprint of all the rest of it."""
        record = {"schema": SCHEMA, **asdict(self)}
        return canonical_json({**record, "fingerprint": fingerprint(record)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read it back. Raises Broken when it is damaged, incomplete, or of another schema."""
        try:
            record: dict[str, Any] = json.loads(data)
            stated = record.pop("fingerprint")
            schema = record.pop("schema")
            same = stated == fingerprint({"schema": schema, **record})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Broken(f"{MANIFEST} is damaged ({type(error).__name__})") from error
        if not same:
            raise Broken(f"{MANIFEST} is damaged (its fingerprint differs)")
        if schema != SCHEMA:
            raise Broken(f"{MANIFEST} has schema {schema!r}; this version reads {SCHEMA}")
        try:
            return cls(**{**record, "files": {name: FileFacts(**facts) for name, facts in record["files"].items()}})
        except (KeyError, TypeError, AttributeError) as error:
            raise Broken(f"{MANIFEST} has other fields than schema {SCHEMA}: {error}") from error


def published_name(step: int) -> str:
    """Return the name that a checkpoint is read under."""
    return f"step-{step:08d}"


def published_step(name: str) -> int | None:
    """Return the step in a published name; None for another name."""
    match = _PUBLISHED.fullmatch(name)
    return int(match[1]) if match else None


def temporary_name(step: int, attempt: str) -> str:
    """Return the name that one attempt writes a checkpoint under."""
    return f".step-{step:08d}.{attempt}.tmp"


def temporary_step(name: str) -> int | None:
    """Return the step in the name of a folder at work; None for another name."""
    match = _TEMPORARY.fullmatch(name)
    return int(match[1]) if match else None


def gone_name(step: int) -> str:
    """Return a new name for a folder that is about to be removed."""
    return f".step-{step:08d}.{secrets.token_hex(8)}.gone"


def is_gone_name(name: str) -> bool:
    """Tell whether a name was made by `gone_name`."""
    return _GONE.fullmatch(name) is not None


def newest_first(folder: Path, names: list[str]) -> list[tuple[int, Path]]:
    """Return (step, path) of the published ones among `names`, the highest step first."""
    steps = [(step, folder / name) for name in names if (step := published_step(name)) is not None]
    return sorted(steps, reverse=True)
