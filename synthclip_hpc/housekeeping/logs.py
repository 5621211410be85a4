"""Logs of work that went well, in sealed phases. A log in which an attempt failed stays, whatever became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sharding.journal import read_events
from synthclip_hpc.housekeeping.ground import Ground
from synthclip_hpc.housekeeping.heap import Heap, heap_of
from synthclip_hpc.launch.chain import Link
from synthclip_hpc.log_files import chain_of, log_of, supervisor_log
from synthclip_hpc.monitor.shapes import is_sound
from synthclip_hpc.submissions import Submission

KIND = "logs of work that went well"
_INTERRUPTED = (None, "notice", "terminated", "orphaned")
"""How a life may end before its element goes on: nothing went wrong with the work."""


def logs(ground: Ground) -> Heap:
    """Return the logs of elements and seal jobs whose last life completed, and in which none failed."""
    good: set[Path] = set()
    sealed_well: set[str] = set()
    for link in ground.sealed:
        ended = {one.name: one for one in ground.ended_of(link)}
        for (name, log), lives in _lives(ground, link, ended).items():
            if _went_well(lives):
                good.add(log)
                if log == _supervisor_log(ground, ended[name]):
                    sealed_well.add(name)
    supervisors = {_supervisor_log(ground, one) for one in ground.submissions}
    return heap_of(KIND, sorted(good - supervisors | set(_supervisor_logs(ground, sealed_well))))


def _lives(
    ground: Ground, link: Link, submissions: dict[str, Submission]
) -> dict[tuple[str, Path], list[tuple[float, str | None]]]:
    """Return (start, how it ended) of all lives of a phase by submission and log."""
    directory = link.directory(ground.run)
    found: dict[tuple[str, Path], list[tuple[float, str | None]]] = defaultdict(list)
    for attempt in directory.attempts():
        for start, reason in _split(read_events(directory.journal_path(attempt))[0]):
            submission = submissions.get(str(start.get("submission")))
            log = _log(ground, submission, start) if submission is not None else None
            if submission is not None and log is not None:
                found[submission.name, log].append((float(start["time"]), reason))
    return found


def _split(events: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield the `start` event of each life in a journal, and the reason of its end; None if it did not say one."""
    start: dict[str, Any] | None = None
    reason: str | None = None
    for event in filter(is_sound, events):
        if event["event"] == "start":
            # The local supervisor and its sealing are one life with two beginnings.
            if start is not None and start.get("role") != "supervisor":
                yield start, reason
            start, reason = event, None
        elif event["event"] == "end":
            reason = str(event.get("reason"))
        elif event["event"] == "gave_up" and "element" not in event:
            reason = "gave_up"
    if start is not None:
        yield start, reason


def _log(ground: Ground, submission: Submission, start: dict[str, Any]) -> Path | None:
    role, job = str(start.get("role", "work")), str(start.get("job"))
    return log_of(ground.run, submission, role=role, job=job, index=start.get("index"), element=start.get("element"))


def _went_well(lives: list[tuple[float, str | None]]) -> bool:
    *earlier, (_, last) = sorted(lives, key=lambda life: life[0])
    return last == "completed" and all(reason in (*_INTERRUPTED, "completed") for _, reason in earlier)


def _supervisor_log(ground: Ground, submission: Submission) -> Path:
    return supervisor_log(ground.run, submission.stage, submission.name)


def _supervisor_logs(ground: Ground, sealed_well: set[str]) -> Iterator[Path]:
    """Yield the logs of the local supervisors all of whose submissions were sealed."""
    for one in ground.submissions:
        chain = chain_of(one, ground.submissions)
        if one is chain[0] and all(each.name in sealed_well for each in chain):
            yield _supervisor_log(ground, one)
