"""Why each attempt ended, told from what the harness did and from Slurm's own word; then held against `status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.cluster import Life
from tests.chaos.faults import Injection
from tests.chaos.journals import Attempt

_WORDS = {
    "PREEMPTED": "preemptions",
    "NODE_FAIL": "node_failures",
    "TIMEOUT": "timeouts",
    "CANCELLED": "cancellations",
    "FAILED": "failures",
    "OUT_OF_MEMORY": "failures",
}
_REQUEUED_BY = {
    "requeue": "requeues",
    "preempt": "preemptions",  # where its partition gives a grace time
    "preempt-grace": "preemptions",
    "time-limit": "timeouts",
}
"""What REQUEUED means, by the fault: Slurm uses the word for `scontrol requeue`, whoever called it."""


@dataclass(frozen=True)
class Ending:
    """How one attempt ended."""

    attempt: str
    word: str
    """Slurm's word; `-` when it has none for this life (local runs, a record that does not exist)."""
    faults: tuple[str, ...]
    """The faults that hit it."""
    cause: str | None
    """The counter of `status` that it belongs to; None when it did its share."""


def endings(
    attempts: Sequence[Attempt], injections: Sequence[Injection], lives: Mapping[str, Sequence[Life]], short: set[str]
) -> list[Ending]:
    """Tell how each attempt ended. `short`: arrays with a time limit that ends every element."""
    hit: dict[str, list[str]] = {}
    for injection in injections:
        for name in injection.attempts:
            hit.setdefault(name, []).append(injection.fault)
    found = []
    for attempt in attempts:
        rows = lives.get(attempt.element, ())
        life = life_of(attempt, rows)
        word = life.word if life is not None else "-"
        faults = tuple(hit.get(attempt.name, ()))
        cause = _cause(attempt, word, faults, short)
        found.append(Ending(attempt.name, word, faults or _aftermath(attempt, cause, hit, short), cause))
    return found


def life_of(attempt: Attempt, rows: Sequence[Life]) -> Life | None:
    """Find Slurm's record of an attempt by time: lives that never reached a worker raise the restart count as well."""
    began = attempt.start["time"] + 1.5  # whole seconds in accounting
    return max((row for row in rows if row.start and row.start <= began), key=lambda row: row.start or 0, default=None)


def _aftermath(attempt: Attempt, cause: str | None, hit: Mapping[str, list[str]], short: set[str]) -> tuple[str, ...]:
    """Name the fault that reached an attempt which it did not hit itself."""
    if cause == "timeouts" and attempt.element.split("_")[0] in short:
        return ("time-limit",)
    earlier = hit.get(f"{attempt.element}_{attempt.restart - 1}", ())
    if cause == "failures" and "sigkill-slurmstepd" in earlier:
        # The srun of the life whose slurmstepd was killed waits some seconds and then cancels step JOB.0 by its
        # number, which is the successor's step when Slurm has started that already (here: after 5 s, usually 120).
        return ("sigkill-slurmstepd",)
    if cause == "failures" and (lost := {"node-dies", "node-lost"} & set(earlier)):
        # Slurm goes on sending the kill that it owed the dead life; a successor on the same node, which has come back
        # in the meantime, carries the same job id and step number and gets it.
        return tuple(lost)
    return ()


def _cause(attempt: Attempt, word: str, faults: tuple[str, ...], short: set[str]) -> str | None:
    if attempt.end == "completed":
        return None
    if attempt.refused:
        return "failures"
    if word == "REQUEUED":
        if "sigkill-slurmstepd" in faults:
            return "unknown"  # the element put itself back, and cannot know who killed its slurmstepd
        known = [_REQUEUED_BY[fault] for fault in faults if fault in _REQUEUED_BY]
        if "requeues" in known:
            return "requeues"
        if attempt.element.split("_")[0] in short:
            return "timeouts"
        return known[0] if known else "requeues"
    return _WORDS.get(word, "unknown")


def counts(found: Sequence[Ending]) -> Counter[str]:
    """How many attempts ended by each cause."""
    return Counter(ending.cause for ending in found if ending.cause is not None)


def without_record(found: Sequence[Ending]) -> list[str]:
    """Attempts that Slurm should know and has no word for."""
    return [f"{ending.attempt}: accounting has no record of this life" for ending in found if ending.word == "-"]


def unexplained(found: Sequence[Ending]) -> list[str]:
    """Attempts that ended early although no fault hit them: something else went wrong."""
    return [
        f"{ending.attempt} ended ({ending.word}, {ending.cause}) and no fault had hit it"
        for ending in found
        if ending.cause not in (None, "cancellations") and not ending.faults
    ]
