"""From a finished file to a done shard: the output is published, then the marker says so. The first output stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sharding import files
from sharding.directory import PhaseDirectory
from sharding.marker import Counts, CountsError, Marker, MarkerError, Promise, done_marker
from sharding.plan import Plan

Inspect = Callable[[Path], Counts]


class PublicationConflict(ValueError):
    """Another output of this shard is published already, and it may not stand for ours."""


def publish_shard(
    directory: PhaseDirectory,
    plan: Plan,
    shard: int,
    source: Path,
    counts: Counts,
    *,
    inputs_hash: str,
    promise: Promise,
    provenance: Mapping[str, Any],
    inspect: Inspect | None = None,
) -> Marker:
    """Publish `source` as the output of a shard and write its marker; `source` is gone afterwards.

    If another attempt was faster, its file is the truth. With promise `bytes` it must equal ours. With promise `items`
    it may differ; its counts are then taken by `inspect`. The marker is always computed from the published file.

    Raises CountsError if the counts do not cover the shard's items, PublicationConflict if a different output is
    published and the promise is `bytes` (both checksums are named) or there is no `inspect` to count it.
    """
    check_counts(plan, shard, counts)
    ours = files.checksum(source)
    final = directory.data_path(shard, plan.suffix)
    files.publish(source, final)
    published = files.checksum(final)
    if published != ours:
        if promise == "bytes":
            raise PublicationConflict(
                f"{final} has sha256 {published[1]} ({published[0]} bytes), ours has {ours[1]} ({ours[0]} bytes); "
                "equal bytes are promised. Either software or CPU type differ between attempts, or it is damaged: "
                "run verify, then repair."
            )
        if inspect is None:
            raise PublicationConflict(
                f"{final} was published by another attempt and differs; adopt it to count its items"
            )
        counts = inspect(final)
    return _mark(directory, plan, shard, counts, inputs_hash, promise, provenance)


def adopt_output(
    directory: PhaseDirectory,
    plan: Plan,
    shard: int,
    inspect: Inspect,
    *,
    inputs_hash: str,
    promise: Promise,
    provenance: Mapping[str, Any],
) -> Marker | None:
    """Mark an output that an earlier attempt published without living to write its marker. None if there is none.

    `inspect` reads the whole file and returns its counts, or raises ValueError if it is bad. A bad one is moved to
    `bad/`, and the shard is then to be made again.
    """
    final = directory.data_path(shard, plan.suffix)
    try:
        counts = inspect(final)
        check_counts(plan, shard, counts)
    except FileNotFoundError:
        return None
    except ValueError:
        move_to_bad(directory, final)
        return None
    return _mark(directory, plan, shard, counts, inputs_hash, promise, provenance)


def check_counts(plan: Plan, shard: int, counts: Counts) -> None:
    """Raises CountsError if a map shard's counts are not those of its item range: an item would be lost in silence."""
    items = plan.shard(shard)
    if plan.kind == "map" and counts.total != items.stop - items.start:
        raise CountsError(
            f"shard {shard} of {plan.stage}/{plan.phase} has {items.stop - items.start} items from {items.start} on, "
            f"its counts cover {counts.total}; count what was left out as rejected, with a reason"
        )


def move_to_bad(directory: PhaseDirectory, path: Path) -> Path | None:
    """Move a file to the phase's `bad/`, where a person can look at it. None if another process was faster."""
    target = directory.bad_path(path)
    try:
        files.move(path, target)
    except FileNotFoundError:
        return None
    return target


def _mark(
    directory: PhaseDirectory,
    plan: Plan,
    shard: int,
    counts: Counts,
    inputs_hash: str,
    promise: Promise,
    provenance: Mapping[str, Any],
) -> Marker:
    path, final = directory.marker_path(shard), directory.data_path(shard, plan.suffix)
    while True:
        size_bytes, sha256 = files.checksum(final)
        try:
            # The winner's own marker is as good as ours, and it tells who made the file.
            present = done_marker(directory, plan, shard)
            if (present.size_bytes, present.sha256, present.inputs_hash) == (size_bytes, sha256, inputs_hash):
                return present
        except MarkerError:
            pass
        marker = Marker(
            plan.stage, plan.phase, shard, plan.hash, inputs_hash, size_bytes, sha256, counts, promise, dict(provenance)
        )
        files.make_directory(path.parent)
        files.replace_file(path, files.canonical_json(marker.to_json()))
        # Where links are not supported, a second attempt may have renamed its output over the first one meanwhile.
        if files.checksum(final) == (size_bytes, sha256):
            return marker
