"""Failures of a run, grouped by what they have in common. Pure: from events to groups; nothing is read here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from synthclip_hpc.monitor.blame import Passed, Try, Verdict, judge
from synthclip_hpc.monitor.fingerprint import Fingerprint, fingerprint
from synthclip_hpc.monitor.lives import Life, PhaseLives

CRASH = "Crash"
"""What stands for the exception where an attempt failed without a word."""
NODE_UNFIT = "NodeUnfit"
"""The error of an attempt whose node was found unfit at its start."""
_ID_LENGTH = 8
"""Of a thousand groups in a run, two have the same id once in ten thousand runs."""


@dataclass(frozen=True)
class Failure:
    """One failure of one attempt."""

    phase: str
    """`stage/phase`."""
    time: float
    """Seconds since 1970, by the clock of the node."""
    attempt: str
    node: str
    """Empty where the journal lost its beginning."""
    submission: str
    element: int | None
    shard: int | None
    """None where the attempt failed as a whole."""
    fingerprint: Fingerprint
    message: str
    from_accounting: bool = False
    """Told by Slurm's accounting and by no journal."""


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one phase with one fingerprint."""

    id: str
    """Eight hexadecimal digits that stand for phase and fingerprint: the same however many groups come and go."""
    phase: str
    """`stage/phase`."""
    fingerprint: Fingerprint
    count: int
    first: float
    """Seconds since 1970."""
    last: float
    nodes: Mapping[str, int]
    """Failures on each node, most first."""
    elements: tuple[tuple[str, int], ...]
    """(submission, element) of each that has met it."""
    shards: tuple[int, ...]
    """The shards that have failed so, in order; none where attempts failed as a whole."""
    sample: Failure
    """The latest."""
    verdict: Verdict
    from_accounting: bool = False
    """Known from Slurm's accounting alone. Such groups come last: it may not answer at the next look."""


def failures_of(lives: PhaseLives) -> Iterator[Failure]:
    """Return the failures of a phase: of shards, of attempts as a whole, crashes, and of elements that gave up."""
    for life in lives.lives.values():
        for visit in life.visits.values():
            if visit.outcome == "failed" and visit.error is not None and visit.kind is not None:
                yield _failure(lives.phase, life, visit.shard, visit.heard, visit.kind, visit.error)
        if life.error is not None and life.kind is not None:
            yield _failure(lives.phase, life, None, life.ended or 0.0, life.kind, life.error)
        elif (error := _without_exception(life)) is not None:
            for shard in (None,) if not life.in_hand else life.in_hand:
                yield _failure(lives.phase, life, shard, life.ended or 0.0, fingerprint(error), error)


def group_failures(phases: Iterable[PhaseLives]) -> tuple[FailureGroup, ...]:
    """Group the failures of all phases by phase and fingerprint; in order of first occurrence."""
    found = []
    for lives in phases:
        groups: dict[Fingerprint, list[Failure]] = defaultdict(list)
        for failure in failures_of(lives):
            groups[failure.fingerprint].append(failure)
        if groups:
            shards, attempts = _passed(lives)
            found += [_group(failures, shards, attempts) for failures in groups.values()]
    return tuple(sorted(found, key=lambda group: (group.from_accounting, group.first, group.phase, group.fingerprint)))


def group_id(phase: str, kind: Fingerprint) -> str:
    """Return what a group of failures is called: no clock and no order of journals has a say in it."""
    return sha256("\0".join((phase, *kind)).encode("utf-8", "replace")).hexdigest()[:_ID_LENGTH]


def _failure(
    phase: str, life: Life, shard: int | None, at: float, kind: Fingerprint, error: Mapping[str, object]
) -> Failure:
    story = life.story
    return Failure(
        phase=phase,
        time=at or story.heard,
        attempt=story.name,
        node=story.node,
        submission=story.submission,
        element=life.element,
        shard=shard,
        fingerprint=kind,
        message=str(error.get("message", "")),
        from_accounting=life.slurm_state is not None and kind.type == CRASH,
    )


def _without_exception(life: Life) -> Mapping[str, str] | None:
    """Return what stands for the error of an attempt that had none to tell: a crash, or too many interruptions."""
    if life.crash is not None:
        return {"type": CRASH, "frame": "", "message": life.crash}
    return {"type": "GaveUp", "frame": "", "message": life.story.message} if life.story.gave_up else None


def _passed(lives: PhaseLives) -> tuple[Passed, Passed]:
    """Return the shards that passed, and the elements whose attempt got work done."""
    shards = Passed(
        Try(life.story.node, str(visit.shard), visit.heard)
        for life in lives.lives.values()
        for visit in life.visits.values()
        if visit.outcome == "done"
    )
    elements = Passed(
        Try(life.story.node, _element(life.story.submission, life.element), life.story.heard)
        for life in lives.lives.values()
        if life.error is None and any(visit.outcome == "done" for visit in life.visits.values())
    )
    return shards, elements


def _element(submission: str, element: int | None) -> str:
    return f"{submission} {element}"


def _group(failures: list[Failure], shards: Passed, elements: Passed) -> FailureGroup:
    failures.sort(key=lambda failure: (failure.time, failure.attempt))
    of_shards = [Try(one.node, str(one.shard), one.time) for one in failures if one.shard is not None]
    of_elements = [Try(one.node, _element(one.submission, one.element), one.time) for one in failures]
    nodes = Counter(one.node for one in failures if one.node)
    if failures[0].fingerprint.type == NODE_UNFIT:
        verdict = Verdict("node", tuple(sorted(nodes)), "the check of the node at the start says so")
    else:
        verdict = judge(of_shards, shards) if of_shards else judge(of_elements, elements, are_shards=False)
    return FailureGroup(
        id=group_id(failures[0].phase, failures[0].fingerprint),
        phase=failures[0].phase,
        fingerprint=failures[0].fingerprint,
        count=len(failures),
        first=failures[0].time,
        last=failures[-1].time,
        nodes=dict(nodes.most_common()),
        elements=tuple(sorted({(one.submission, one.element) for one in failures if one.element is not None})),
        shards=tuple(sorted({one.shard for one in failures if one.shard is not None})),
        sample=failures[-1],
        verdict=verdict,
        from_accounting=failures[0].from_accounting,
    )
