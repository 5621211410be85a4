"""Markers: the small JSON file that says a shard is done. The only truth about a shard."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from sharding import files, schema
from sharding.directory import PhaseDirectory
from sharding.folded import folded_line
from sharding.plan import Plan

Promise = Literal["bytes", "items"]
_SHA256 = re.compile(r"[0-9a-f]{64}")


class MarkerError(ValueError):
    """A marker that says nothing reliable about its shard; the message says what is wrong with it."""


class CountsError(ValueError):
    """Counts that do not add up."""


@dataclass(frozen=True)
class Counts:
    """Items in = items done + items rejected, each for a reason. Raises CountsError if that does not hold."""

    total: int
    done: int
    rejected: int
    rejects: Mapping[str, int]
    """How many items were rejected for each reason."""

    def __post_init__(self) -> None:
        numbers = (self.total, self.done, self.rejected, *self.rejects.values())
        if any(not isinstance(number, int) or isinstance(number, bool) or number < 0 for number in numbers):
            raise CountsError(f"counts must be whole numbers from 0 on, got {self}")
        if self.total != self.done + self.rejected or self.rejected != sum(self.rejects.values()):
            raise CountsError(
                f"counts do not add up: total {self.total}, done {self.done}, rejected {self.rejected}, "
                f"rejects {dict(self.rejects)}"
            )

    @classmethod
    def of(cls, reasons: Iterable[str | None]) -> Self:
        """Counts from one value an item: None or empty where it was done, else the reason of its rejection."""
        tally = Counter(reason or None for reason in reasons)
        done = tally.pop(None, 0)
        rejects = {str(reason): tally[reason] for reason in sorted(tally, key=str)}
        rejected = sum(rejects.values())
        return cls(done + rejected, done, rejected, rejects)

    @classmethod
    def sum(cls, counts: Iterable[Counts]) -> Self:
        """The counts of several shards together."""
        total = done = rejected = 0
        rejects: Counter[str] = Counter()
        for part in counts:
            total, done, rejected = total + part.total, done + part.done, rejected + part.rejected
            rejects.update(part.rejects)
        return cls(total, done, rejected, dict(sorted(rejects.items())))


@dataclass(frozen=True)
class Marker:
    """What is known of a finished shard."""

    stage: str
    phase: str
    shard: int
    plan_hash: str
    inputs_hash: str
    size_bytes: int
    """Size of the published output."""
    sha256: str
    """Checksum of the published output."""
    counts: Counts
    promise: Promise
    """`bytes`: whoever makes this shard gets these bytes. `items`: only its finished items keep their bytes."""
    provenance: Mapping[str, Any]
    """Volatile facts (host, time, attempt, versions): in no hash and in no seal."""

    def to_json(self) -> dict[str, Any]:
        return {"schema": schema.SCHEMA, **asdict(self)}


def read_marker(path: Path) -> Marker:
    """The marker in a file. For the marker of a shard, which may be folded, there is `shard_marker`.

    Raises FileNotFoundError if there is none, MarkerError for everything else that is wrong with it: torn or foreign
    content, missing or mistyped fields, counts that do not add up, a newer schema.
    """
    return _parse(files.read_file(path), str(path))


def shard_marker(directory: PhaseDirectory, shard: int) -> Marker:
    """The marker of a shard: its own file, else what was folded of it. Raises as `read_marker`."""
    try:
        return read_marker(directory.marker_path(shard))
    except FileNotFoundError:
        line = folded_line(directory, shard)
        if line is None:
            raise
    return _parse(line, f"{directory.folded_path}, shard {shard}")


def _parse(data: bytes, what: str) -> Marker:
    value = schema.parse(data, what, MarkerError)
    sha256, promise = schema.text(value, "sha256", what, MarkerError), schema.text(value, "promise", what, MarkerError)
    if not _SHA256.fullmatch(sha256):
        raise MarkerError(f"{what}: field 'sha256' must be 64 hexadecimal digits, got {sha256!r}")
    if promise not in get_args(Promise):
        raise MarkerError(f"{what}: field 'promise' must be one of {', '.join(get_args(Promise))}, got {promise!r}")
    return Marker(
        stage=schema.text(value, "stage", what, MarkerError),
        phase=schema.text(value, "phase", what, MarkerError),
        shard=schema.count(value, "shard", what, MarkerError),
        plan_hash=schema.text(value, "plan_hash", what, MarkerError),
        inputs_hash=schema.text(value, "inputs_hash", what, MarkerError),
        size_bytes=schema.count(value, "size_bytes", what, MarkerError),
        sha256=sha256,
        counts=counts_from_json(schema.mapping(value, "counts", what, MarkerError), what, MarkerError),
        promise="bytes" if promise == "bytes" else "items",
        provenance=schema.mapping(value, "provenance", what, MarkerError),
    )


def counts_from_json(value: dict[str, Any], what: str, error: type[ValueError]) -> Counts:
    """The counts in a JSON object. Raises `error` if fields are missing or mistyped, or do not add up."""
    total, done, rejected = (schema.count(value, key, what, error) for key in ("total", "done", "rejected"))
    rejects = schema.mapping(value, "rejects", what, error)
    try:
        return Counts(total, done, rejected, rejects)
    except CountsError as cause:
        raise error(f"{what}: {cause}") from cause


def done_marker(directory: PhaseDirectory, plan: Plan, shard: int) -> Marker:
    """The marker of a shard that is done: it parses, is of this plan, and the output is there with the recorded size.

    Raises MarkerError, with the reason, for a shard that is not done.
    """
    path = directory.marker_path(shard)
    try:
        marker = shard_marker(directory, shard)
    except FileNotFoundError:
        raise MarkerError("no marker") from None
    if marker.plan_hash != plan.hash:
        raise MarkerError(f"{path} is of plan {marker.plan_hash}, not of plan {plan.hash}")
    if marker.shard != shard:
        raise MarkerError(f"{path} speaks of shard {marker.shard}, not of shard {shard}")
    output = directory.data_path(shard, plan.suffix)
    try:
        size_bytes = files.size_bytes(output)
    except FileNotFoundError:
        raise MarkerError(f"{path} is there, its output {output} is missing") from None
    if size_bytes != marker.size_bytes:
        raise MarkerError(f"{output} has {size_bytes} bytes, its marker says {marker.size_bytes}")
    return marker


def is_done(directory: PhaseDirectory, plan: Plan, shard: int) -> bool:
    """Whether a shard needs no more work. Reads the marker and the output's size; checksums are for `check.verify`."""
    try:
        done_marker(directory, plan, shard)
    except MarkerError:
        return False
    return True
