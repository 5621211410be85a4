"""From a finished file to a done shard: the output is published, then the marker says so. The first output stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sharding import files
from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.marker import Counts, CountsError, Marker, MarkerError, Promise, done_marker, shard_marker
from sharding.plan import Plan, ShardRange

Inspect = Callable[[Path, Plan, ShardRange], Counts]
"""Reads the whole output of a shard and counts its items; ValueError if it is damaged, or not that shard's."""


class PublicationConflict(ValueError):
    """Another output of this shard is published already, and it may not stand for ours."""


class _Refused(Exception):
    """An output that cannot be adopted."""


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

    So is everything else that attempts left for the shard on the way: an attempt that is still at it finds it done.

    If another attempt was faster, its file is the truth. With promise `bytes` it must equal ours. With promise `items`
    it may differ; its counts are then taken by `inspect`. The marker is always computed from the published file.

    Raises CountsError if the counts do not cover the shard's items, PublicationConflict if a different output is
    published and the promise is `bytes` (both checksums are named) or there is no `inspect` to count it.
    """
    check_counts(plan, shard, counts)
    final = directory.data_path(shard, plan.suffix)
    ours: files.Checksum | None = None
    try:
        ours = files.checksum(source)
        files.publish(source, final)
    except OSError as error:
        # The winner has cleared our file away: then the shard is done, and the winner's marker says with what.
        winner = _present(directory, plan, shard)
        if not files.is_gone(error) or winner is None:
            raise
        if ours is None:
            return winner

    def count(published: files.Checksum) -> Counts:
        if published == ours:
            return counts
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
        return inspect(final, plan, plan.shard(shard))

    return _mark(directory, plan, shard, count, inputs_hash, promise, provenance)


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

    What `inspect` refuses is moved to `bad/`, and the shard is then to be made again. So is, with its marker, an output
    whose marker speaks of another plan or shard: it may look right and yet hold what another seed made.
    """
    final = directory.data_path(shard, plan.suffix)
    if _is_foreign(directory, plan, shard):
        # The output first: without its marker it would pass for one that was only never marked.
        move_to_bad(directory, final)
        move_to_bad(directory, directory.marker_path(shard))
        return None

    def count(published: files.Checksum) -> Counts:
        try:
            counts = inspect(final, plan, plan.shard(shard))
            check_counts(plan, shard, counts)
        except ValueError as error:
            raise _Refused from error
        return counts

    try:
        return _mark(directory, plan, shard, count, inputs_hash, promise, provenance)
    except FileNotFoundError:
        return None
    except _Refused:
        move_to_bad(directory, final)
        return None


def _is_foreign(directory: PhaseDirectory, plan: Plan, shard: int) -> bool:
    try:
        marker = shard_marker(directory, shard)
    except (FileNotFoundError, MarkerError):
        return False
    return (marker.plan_hash, marker.shard) != (plan.hash, shard)


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
    count: Callable[[files.Checksum], Counts],
    inputs_hash: str,
    promise: Promise,
    provenance: Mapping[str, Any],
) -> Marker:
    path, final = directory.marker_path(shard), directory.data_path(shard, plan.suffix)
    while True:
        identity = files.identity(final)
        found = size_bytes, sha256 = files.checksum(final)
        counts = count(found)
        marker = _present(directory, plan, shard)
        # The winner's own marker is as good as ours, and it tells who made the file.
        if marker is None or (marker.size_bytes, marker.sha256, marker.inputs_hash) != (*found, inputs_hash):
            facts = dict(provenance)
            marker = Marker(
                plan.stage, plan.phase, shard, plan.hash, inputs_hash, size_bytes, sha256, counts, promise, facts
            )
            files.make_directory(path.parent)
            files.replace_file(path, canonical_json(marker.to_json()))
        # Where links are not supported, a second attempt may have renamed its output over the first one meanwhile.
        if files.identity(final) == identity or files.checksum(final) == found:
            break
    # The shard is done: what any attempt still keeps of it would only fill the disk until the phase is sealed.
    for leftover in directory.work_files(shard):
        files.remove(leftover)
    return marker


def _present(directory: PhaseDirectory, plan: Plan, shard: int) -> Marker | None:
    try:
        return done_marker(directory, plan, shard)
    except MarkerError:
        return None
