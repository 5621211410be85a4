"""Seals: one immutable manifest of all markers of a finished phase. Its hash is what the next phase builds on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from sharding import files, schema
from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.marker import Counts, CountsError, Marker, MarkerError, counts_from_json, done_marker
from sharding.plan import Plan
from sharding.publication import check_counts

_NUM_READERS = 16
_NUM_SHOWN = 10


class PhaseIncomplete(Exception):
    """The phase cannot be sealed. `missing` holds the shard numbers in order, `reasons` why, for each."""

    def __init__(self, plan: Plan, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(sorted(reasons.items()))
        self.missing = list(self.reasons)
        shown = [f"  shard {shard}: {self.reasons[shard]}" for shard in self.missing[:_NUM_SHOWN]]
        if len(self.missing) > _NUM_SHOWN:
            shown.append(f"  and {len(self.missing) - _NUM_SHOWN} more")
        super().__init__(
            f"{plan.stage}/{plan.phase}: {len(self.missing)} of {plan.num_shards} shards are not done:\n"
            + "\n".join(shown)
        )


class SealConflict(ValueError):
    """The phase is sealed already, with other content."""


class SealError(ValueError):
    """A seal file that is torn, damaged or newer than this version."""


@dataclass(frozen=True)
class SealedShard:
    """What a seal says about one shard: its marker less what all shards share and less provenance."""

    shard: int
    size_bytes: int
    sha256: str
    counts: Counts
    promise: str


@dataclass(frozen=True)
class Seal:
    """The manifest of a finished phase; `shards` is in shard order."""

    stage: str
    phase: str
    plan_hash: str
    inputs_hash: str
    shards: tuple[SealedShard, ...]
    hash: str = field(default="", compare=False)
    """sha256 of the seal file's bytes."""

    @property
    def counts(self) -> Counts:
        """The counts of all shards together."""
        return Counts.sum(shard.counts for shard in self.shards)

    @property
    def size_bytes(self) -> int:
        """The size of all outputs together."""
        return sum(shard.size_bytes for shard in self.shards)


def write_seal(directory: PhaseDirectory, plan: Plan, inputs_hash: str) -> Seal:
    """`collect_seal`, then `store_seal`: raises what they raise."""
    return store_seal(directory, collect_seal(directory, plan, inputs_hash))


def collect_seal(directory: PhaseDirectory, plan: Plan, inputs_hash: str) -> Seal:
    """Check that every shard is done, and return the seal that the markers give; nothing is written.

    Equal markers (provenance aside) give equal seals, whoever reads them and when. Markers of shards that the plan
    does not have are not looked at. Raises PhaseIncomplete if shards are missing.
    """
    shards = tuple(seal_entry(marker) for marker in _read_markers(directory, plan, inputs_hash))
    data = _encode(Seal(plan.stage, plan.phase, plan.hash, inputs_hash, shards))
    return _decode(data, str(directory.seal_path))


def store_seal(directory: PhaseDirectory, seal: Seal) -> Seal:
    """Write a seal; a phase that is sealed with the same content stays as it is.

    Raises SealConflict (with both hashes) if the phase has another seal.
    """
    data = _encode(seal)
    if not files.create_file(directory.seal_path, data):
        present = files.read_file(directory.seal_path)
        if present != data:
            raise SealConflict(
                f"{directory.seal_path} has hash {hashlib.sha256(present).hexdigest()}, "
                f"the markers now give {seal.hash}; what follows may be built on the seal. "
                "Run verify to see which shard differs."
            )
    return seal


def load_seal(directory: PhaseDirectory) -> Seal | None:
    """The seal of a phase, None if it has none. Raises SealError if the file is torn, damaged or newer."""
    try:
        data = files.read_file(directory.seal_path)
    except FileNotFoundError:
        return None
    return _decode(data, str(directory.seal_path))


def seal_entry(marker: Marker) -> SealedShard:
    """What a seal says of the shard that a marker speaks of."""
    return SealedShard(marker.shard, marker.size_bytes, marker.sha256, marker.counts, marker.promise)


def _read_markers(directory: PhaseDirectory, plan: Plan, inputs_hash: str) -> list[Marker]:
    def read(shard: int) -> Marker | str:
        try:
            marker = done_marker(directory, plan, shard)
            check_counts(plan, shard, marker.counts)
        except (MarkerError, CountsError) as error:
            return str(error)
        if marker.inputs_hash != inputs_hash:
            return f"made from inputs {marker.inputs_hash}, the phase is bound to inputs {inputs_hash}"
        return marker

    # On a network file system almost all of the time is waiting for the server's answers.
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        found = list(pool.map(read, range(plan.num_shards)))
    reasons = {shard: result for shard, result in enumerate(found) if isinstance(result, str)}
    if reasons:
        raise PhaseIncomplete(plan, reasons)
    return [result for result in found if isinstance(result, Marker)]


def _encode(seal: Seal) -> bytes:
    value = asdict(seal)
    del value["hash"]
    totals = {"num_shards": len(seal.shards), "size_bytes": seal.size_bytes, "counts": asdict(seal.counts)}
    return canonical_json({"schema": schema.SCHEMA, **value, "totals": totals})


def _decode(data: bytes, what: str) -> Seal:
    value = schema.parse(data, what, SealError)
    entries = value.get("shards")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SealError(f"{what}: field 'shards' must be a list of objects")
    seal = Seal(
        stage=schema.text(value, "stage", what, SealError),
        phase=schema.text(value, "phase", what, SealError),
        plan_hash=schema.text(value, "plan_hash", what, SealError),
        inputs_hash=schema.text(value, "inputs_hash", what, SealError),
        shards=tuple(_decode_shard(entry, what) for entry in entries),
        hash=hashlib.sha256(data).hexdigest(),
    )
    if _encode(seal) != data:
        raise SealError(f"{what} was changed after it was written: its parts do not agree")
    return seal


def _decode_shard(entry: dict[str, Any], what: str) -> SealedShard:
    return SealedShard(
        shard=schema.count(entry, "shard", what, SealError),
        size_bytes=schema.count(entry, "size_bytes", what, SealError),
        sha256=schema.text(entry, "sha256", what, SealError),
        counts=counts_from_json(schema.mapping(entry, "counts", what, SealError), what, SealError),
        promise=schema.text(entry, "promise", what, SealError),
    )
