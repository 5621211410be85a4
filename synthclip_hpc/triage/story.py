"""One shard's whole story: who was given it, every attempt at it and how that ended, what is left of it on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sharding.marker import Marker, MarkerError, done_marker
from sharding.plan import Plan, load_plan
from sharding.seal import load_seal
from synthclip_hpc.errors import UserError
from synthclip_hpc.monitor.lives import Life, PhaseLives
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.processes import is_alive, is_elsewhere
from synthclip_hpc.run import Run
from synthclip_hpc.stage_order import STAGES
from synthclip_hpc.stages.phase import Phase
from synthclip_hpc.submissions import Submission, all_submissions
from synthclip_hpc.triage.endings import endings
from synthclip_hpc.triage.reading import given_shards, log_path, read_phase


@dataclass(frozen=True)
class Given:
    """A submission that covered the shard, and which of its elements got it."""

    submission: str
    created: float
    """Seconds since 1970."""
    cluster: str
    """`local` or `slurm`."""
    state: str
    """claimed | submitted | ended | cancelled"""
    element: int
    excluded: str | None
    """Nodes that it was told to leave alone besides the profile's."""


@dataclass(frozen=True)
class AttemptAtShard:
    """One attempt of an element that had the shard to do."""

    attempt: str
    submission: str
    element: int | None
    node: str
    started: float
    """Seconds since 1970, by the node's clock; 0 where the journal lost its beginning."""
    ended: float | None
    how: str
    """How the attempt as a whole ended, in words."""
    began: float | None
    """When it began with the shard; None: it did not come to it."""
    outcome: str | None
    """open (interrupted, or still at it) | done | failed | taken | None"""
    resumed: int
    """Items of the shard that earlier attempts had left."""
    items: int
    """Items of the shard that were safe when it was heard of last."""
    error: Mapping[str, Any] | None
    """type, message, frame and traceback of the error that the shard, or the whole attempt, failed with."""
    log: str | None


@dataclass(frozen=True)
class WorkFile:
    """What an attempt left of the shard on its way to the output."""

    path: str
    size_bytes: int
    written: float
    """Seconds since 1970, by the file system's clock."""


@dataclass(frozen=True)
class ShardStory:
    """All that is known of one shard."""

    phase: str
    """`stage/phase`."""
    shard: int
    items: tuple[int, int]
    """The first of its items in the plan, and the one behind its last."""
    is_done: bool
    is_sealed: bool
    why_not: str | None
    """What is wrong with its marker, where it is not done."""
    marker: Mapping[str, Any] | None
    given: tuple[Given, ...]
    attempts: tuple[AttemptAtShard, ...]
    """In order of their start."""
    work_files: tuple[WorkFile, ...]

    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, **dataclasses.asdict(self)}


def find_shard(run: Run, text: str) -> tuple[Phase, Plan, int]:
    """Return what `shard=render/1234` or `shard=render/draw/1234` means.

    Raises UserError for what is no shard of the run, naming what there is.
    """
    where, _, number = text.rpartition("/")
    phases = [phase for stage in STAGES for phase in phases_of(stage)]
    found = [phase for phase in phases if where in (phase.stage, phase.key)]
    planned = [(phase, plan) for phase in found if (plan := load_plan(run.phase(phase.stage, phase.name))) is not None]
    if not number.isascii() or not number.isdigit() or not found:
        raise UserError(
            f"shard={text}: not understood; write STAGE/NUMBER or STAGE/PHASE/NUMBER, e.g. shard=render/1234"
        )
    if not planned:
        raise UserError(
            f"shard={text}: {where} has no plan in run={run.path}; see: python -m synthclip_hpc.status run={run.path}"
        )
    if len(planned) > 1:
        keys = ", ".join(f"{phase.key}/{number}" for phase, _ in planned)
        raise UserError(f"shard={text}: {where} has several phases; name one: {keys}")
    phase, plan = planned[0]
    if int(number) >= plan.num_shards:
        raise UserError(f"shard={text}: {phase.key} has the shards 0 to {plan.num_shards - 1}")
    return phase, plan, int(number)


def tell_shard(run: Run, phase: Phase, plan: Plan, shard: int) -> ShardStory:
    """Gather a shard's story. Slurm's accounting is asked once a submission, for attempts that just vanished."""
    directory = run.phase(phase.stage, phase.name)
    submissions = [one for one in all_submissions(run) if (one.stage, one.phase) == (phase.stage, phase.name)]
    lives = read_phase(run, phase, submissions, tracebacks=True)
    is_sealed = load_seal(directory) is not None
    sealers = {life.story.submission for life in lives.lives.values() if life.story.role == "seal" and life.ended}
    given = [
        replace(found, state="ended") if found.state == "submitted" and (is_sealed or _is_over(one, sealers)) else found
        for one in submissions
        if (found := _given(run, one, shard)) is not None
    ]
    marker, why_not = None, None
    try:
        marker = done_marker(directory, plan, shard)
    except MarkerError as error:
        why_not = str(error)
    at_it = _at_shard(lives, shard, {(one.submission, one.element) for one in given})
    attempts = [
        _attempt(run, life, shard, submissions, how)
        for life, how in zip(at_it, endings(at_it, submissions), strict=True)
    ]
    extent = plan.shard(shard)
    return ShardStory(
        phase=phase.key,
        shard=shard,
        items=(extent.start, extent.stop),
        is_done=marker is not None,
        is_sealed=is_sealed,
        why_not=why_not,
        marker=_facts(marker) if marker is not None else None,
        given=tuple(given),
        attempts=tuple(attempts),
        work_files=tuple(_work_files(directory.work_files(shard))),
    )


def _given(run: Run, submission: Submission, shard: int) -> Given | None:
    shares = given_shards(run, submission, range(submission.num_elements))
    element = next((element for element, share in shares.items() if shard in share), None)
    if element is None:
        return None
    return Given(
        submission=submission.name,
        created=float(submission.record["created"]),
        cluster=submission.cluster,
        state=submission.state,
        element=element,
        excluded=submission.config.slurm.exclude_also,
    )


def _is_over(submission: Submission, sealers: set[str]) -> bool:
    """Tell whether a submission is seen to have ended: its seal job, the last of it, or its supervisor on this host."""
    if submission.cluster == "slurm":
        return submission.name in sealers
    supervisor = submission.record.get("supervisor")
    return not is_alive(supervisor) and not is_elsewhere(supervisor)


def _at_shard(lives: PhaseLives, shard: int, given: set[tuple[str, int]]) -> list[Life]:
    mine = [
        life
        for life in lives.lives.values()
        if life.story.role == "work"
        and (shard in life.visits or (life.story.submission, life.element if life.element is not None else -1) in given)
    ]
    return sorted(mine, key=lambda life: (life.story.started or life.story.heard, life.story.name))


def _attempt(run: Run, life: Life, shard: int, submissions: Sequence[Submission], how: str) -> AttemptAtShard:
    visit = life.visits.get(shard)
    error = life.error if visit is None or visit.error is None else visit.error
    log = log_path(run, life, submissions)
    return AttemptAtShard(
        attempt=life.story.name,
        submission=life.story.submission,
        element=life.element,
        node=life.story.node,
        started=life.story.started,
        ended=life.ended,
        how=how,
        began=visit.began if visit is not None else None,
        outcome=visit.outcome if visit is not None else None,
        resumed=visit.resumed if visit is not None else 0,
        items=visit.items if visit is not None else 0,
        error=error,
        log=str(log) if log is not None and log.exists() else None,
    )


def _facts(marker: Marker) -> dict[str, Any]:
    made = marker.provenance
    return {
        "attempt": made.get("attempt"),
        "node": made.get("node") or made.get("host"),
        "finished": made.get("finished"),
        "seconds": made.get("seconds"),
        "adopted": bool(made.get("adopted")),
        "size_bytes": marker.size_bytes,
        "sha256": marker.sha256,
        "done": marker.counts.done,
        "rejected": marker.counts.rejected,
        "rejects": dict(marker.counts.rejects),
    }


def _work_files(paths: Sequence[Path]) -> Iterator[WorkFile]:
    for path in paths:
        try:
            found = path.stat()
        except FileNotFoundError:
            continue  # its attempt has published it since
        yield WorkFile(str(path), found.st_size, found.st_mtime)
