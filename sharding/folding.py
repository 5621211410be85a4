"""Folding: the markers of a sealed phase, a file a shard, become one file. `unfolding` is the way back, for `repair`.

Both may be killed anywhere and called again, and twice at once: a marker's own file goes only when the whole is on
disk, and the whole goes only when every marker is a file again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from sharding import files
from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.folded import encode, folded_line
from sharding.marker import Marker, MarkerError, shard_marker
from sharding.plan import Plan
from sharding.seal import Seal, SealedShard, SealError, load_seal, seal_entry


class FoldRefused(ValueError):
    """Markers that must stay as they are; the message says why."""


def fold_markers(directory: PhaseDirectory, plan: Plan) -> int:
    """Fold the markers of a sealed phase and remove their own files; returns how many were removed.

    Safe beside whatever works on the phase still. Raises FoldRefused for a phase that is not sealed under this plan,
    and where a marker is missing, damaged, or at odds with the seal: that is for `verify` to tell in full.
    """
    own = directory.own_markers()
    data = encode(marker.to_json() for marker in _agreed(directory, plan))
    if not own:
        return 0
    if _content(directory) != data:
        files.replace_file(directory.folded_path, data)
    removed = 0
    for shard in sorted(own & set(range(plan.num_shards))):
        # A repair that began meanwhile takes the seal away before it reopens anything: it needs the files.
        if not directory.seal_path.exists() or not directory.folded_path.exists():
            break
        files.remove(directory.marker_path(shard))
        removed += 1
    for group in {directory.marker_path(shard).parent for shard in own}:
        files.remove_directory(group)
    return removed


def unfold_markers(directory: PhaseDirectory) -> None:
    """Give each folded marker a file of its own again, with the bytes it had; a newer one that is there stays.

    A line that is no marker any more goes with the rest: its shard's output is then looked at anew.
    """
    found: dict[int, bytes] = {}
    shard = 0
    while folded_line(directory, shard) is not None:
        with contextlib.suppress(MarkerError, FileNotFoundError):
            found[shard] = canonical_json(shard_marker(directory, shard).to_json())
        shard += 1
    _create_missing(directory, found)
    files.remove(directory.folded_path)
    # One that folds at this moment stops when it sees that; what it removed just before is written again.
    _create_missing(directory, found)


def _create_missing(directory: PhaseDirectory, markers: Mapping[int, bytes]) -> None:
    for shard in sorted(markers.keys() - directory.own_markers()):
        files.create_file(directory.marker_path(shard), markers[shard])


def _content(directory: PhaseDirectory) -> bytes:
    try:
        return files.read_file(directory.folded_path)
    except FileNotFoundError:
        return b""


def _agreed(directory: PhaseDirectory, plan: Plan) -> list[Marker]:
    """Return the markers of all shards. Raises FoldRefused unless they say what the seal says."""
    try:
        seal = load_seal(directory)
    except SealError as error:
        raise FoldRefused(str(error)) from error
    if seal is None or seal.plan_hash != plan.hash:
        raise FoldRefused(f"{plan.stage}/{plan.phase} is not sealed")
    return [_agreeing(directory, seal, entry) for entry in seal.shards]


def _agreeing(directory: PhaseDirectory, seal: Seal, entry: SealedShard) -> Marker:
    try:
        marker = shard_marker(directory, entry.shard)
    except FileNotFoundError:
        raise FoldRefused(f"{directory.marker_path(entry.shard)} is missing") from None
    except MarkerError as error:
        raise FoldRefused(str(error)) from error
    if (marker.shard, marker.plan_hash, marker.inputs_hash) != (entry.shard, seal.plan_hash, seal.inputs_hash) or (
        seal_entry(marker) != entry
    ):
        raise FoldRefused(f"{directory.marker_path(entry.shard)} does not say what {directory.seal_path} says")
    return marker
