"""Does what the markers say still hold? `verify` reads everything again; `repair` reopens what is bad."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharding import files
from sharding.directory import PhaseDirectory
from sharding.folding import unfold_markers
from sharding.marker import CountsError, Marker, MarkerError, shard_marker
from sharding.plan import Plan
from sharding.publication import check_counts, move_to_bad
from sharding.seal import Seal, SealError, load_seal


@dataclass(frozen=True)
class Problem:
    """Something that does not hold: `path` cannot be trusted. `shard` is None where no single shard is to blame."""

    shard: int | None
    path: Path
    reason: str


def verify(directory: PhaseDirectory, plan: Plan) -> list[Problem]:
    """Check every marked or sealed shard, its output's checksum included; what is not done yet is no problem.

    Reports corrupt markers, markers of another plan, missing outputs, outputs of another size or sha256, a damaged
    seal, and a seal and markers that disagree. Reads every output once.
    """
    problems = []
    try:
        seal = load_seal(directory)
    except SealError as error:
        seal = None
        problems.append(Problem(None, directory.seal_path, str(error)))
    if seal is not None:
        problems += _seal_problems(directory, plan, seal)
    sealed = {entry.shard: entry for entry in seal.shards} if seal is not None else {}
    for shard in sorted(directory.marked_shards() | sealed.keys()):
        found = list(_shard_problems(directory, plan, shard))
        problems += found
        if not found and seal is not None:
            marker = shard_marker(directory, shard)
            entry = sealed.get(shard)
            if entry is None or (entry.sha256, entry.counts) != (marker.sha256, marker.counts):
                problems.append(
                    Problem(shard, directory.seal_path, "the seal disagrees with the marker, which fits the output")
                )
    return problems


def repair(directory: PhaseDirectory, problems: Sequence[Problem]) -> list[int]:
    """Reopen what `verify` found bad; returns the reopened shards. Bad files move to `bad/`, nothing is deleted.

    A shard that is only at odds with the seal is not reopened: its marker fits its output, so the seal goes. To be run
    when nothing works on the phase. Killed half-way, it leaves what the next `verify` finds again, as the
    marker goes last.
    """
    if problems:
        # What is folded belongs to the seal: with shards open again each marker is a file of its own.
        unfold_markers(directory)
        move_to_bad(directory, directory.seal_path)
    reopened = set()
    for problem in problems:
        if problem.shard is None or problem.path == directory.seal_path:
            continue
        marker_path = directory.marker_path(problem.shard)
        if problem.path != marker_path:
            move_to_bad(directory, problem.path)
        move_to_bad(directory, marker_path)
        reopened.add(problem.shard)
    return sorted(reopened)


def reopen(directory: PhaseDirectory, plan: Plan) -> list[int]:
    """Reopen a whole phase, because what it was made from is made anew; returns its shards that were there.

    It is then bound to whatever its inputs are by then. All files move to `bad/`. To be run when nothing works on the
    phase, and before what it was made from is reopened: killed half-way, it is called again.
    """
    move_to_bad(directory, directory.seal_path)
    shards = sorted(directory.marked_shards() | directory.output_shards(plan.suffix))
    for shard in shards:
        move_to_bad(directory, directory.data_path(shard, plan.suffix))
        move_to_bad(directory, directory.marker_path(shard))
    move_to_bad(directory, directory.folded_path)
    move_to_bad(directory, directory.inputs_path)
    return shards


def _seal_problems(directory: PhaseDirectory, plan: Plan, seal: Seal) -> Iterator[Problem]:
    if seal.plan_hash != plan.hash:
        yield Problem(None, directory.seal_path, f"the seal is of plan {seal.plan_hash}, not of plan {plan.hash}")
    elif [entry.shard for entry in seal.shards] != list(range(plan.num_shards)):
        yield Problem(None, directory.seal_path, f"the seal does not list the {plan.num_shards} shards of the plan")


def _shard_problems(directory: PhaseDirectory, plan: Plan, shard: int) -> Iterator[Problem]:
    marker_path, output = directory.marker_path(shard), directory.data_path(shard, plan.suffix)
    try:
        marker = shard_marker(directory, shard)
    except FileNotFoundError:
        yield Problem(shard, marker_path, "sealed, but its marker is missing")
        return
    except MarkerError as error:
        yield Problem(shard, marker_path, str(error))
        return
    if reason := _wrong_marker(plan, shard, marker):
        # The output belongs to what the marker speaks of, so it must not be adopted for this plan.
        yield Problem(shard, output, reason)
        return
    try:
        size_bytes, sha256 = files.checksum(output)
    except FileNotFoundError:
        yield Problem(shard, output, "the output is missing")
        return
    if size_bytes != marker.size_bytes:
        yield Problem(shard, output, f"the output has {size_bytes} bytes, its marker says {marker.size_bytes}")
    elif sha256 != marker.sha256:
        yield Problem(shard, output, f"the output has sha256 {sha256}, its marker says {marker.sha256}")


def _wrong_marker(plan: Plan, shard: int, marker: Marker) -> str | None:
    if marker.plan_hash != plan.hash:
        return f"the marker is of plan {marker.plan_hash}, not of plan {plan.hash}"
    if marker.shard != shard:
        return f"the marker speaks of shard {marker.shard}"
    if shard >= plan.num_shards:
        return f"the plan has only {plan.num_shards} shards"
    try:
        check_counts(plan, shard, marker.counts)
    except CountsError as error:
        return str(error)
    return None
