"""How attempts ended, in words: from their journals first, from Slurm's accounting for those that vanished."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterable, Sequence

from slurm.accounting import AccountingRow, match_lives, read_accounting
from slurm.queue import QueueSnapshot
from synthclip_hpc.launch.environment import environment_of
from synthclip_hpc.launch.liveness import is_living
from synthclip_hpc.monitor.lives import Life
from synthclip_hpc.submissions import Submission

_SINCE_SLACK_S = 3600.0
"""Accounting is asked from so long before the submission: its clock may differ from the submit host's."""
_WORDS = {
    "completed": "did the whole of its share",
    "notice": "stopped on advance notice",
    "terminated": "stopped on SIGTERM",
    "orphaned": "stopped: whoever watched over it had been killed",
}
_UNKNOWN = "vanished without a word"


def endings(lives: Sequence[Life], submissions: Sequence[Submission]) -> list[str]:
    """Return how each of the lives of one phase ended. Slurm's accounting is asked as `ask_accounting` does."""
    rows, errors = ask_accounting(lives, submissions)
    by_name = {one.name: one for one in submissions}
    found = []
    for life in lives:
        told = _from_journals(life)
        submission = by_name.get(life.story.submission)
        if told is None and id(life) in rows:
            told = _state(rows[id(life)])
        elif told is None and submission is not None and submission.cluster == "local":
            told = _from_processes(life, lives, submission)
        elif told is None and submission is not None and submission.name in errors:
            told = f"{_UNKNOWN}; Slurm's accounting does not tell ({errors[submission.name]})"
        found.append(told or _UNKNOWN)
    return found


def ask_accounting(
    lives: Iterable[Life], submissions: Sequence[Submission]
) -> tuple[dict[int, AccountingRow], dict[str, str]]:
    """Return what Slurm's accounting says of the lives whose end no journal explains, by their `id()`.

    And why it does not tell, by submission. It is asked once a submission that has such lives.
    """
    lives = list(lives)
    vanished: dict[str, list[Life]] = defaultdict(list)
    for life in lives:
        if life.story.role == "work" and life.story.job.isdigit() and _from_journals(life) is None:
            vanished[life.story.submission].append(life)
    rows: dict[int, AccountingRow] = {}
    errors = {}
    for submission in submissions:
        if submission.cluster == "slurm" and submission.name in vanished:
            mine = [life for life in lives if life.story.submission == submission.name and not life.story.superseded]
            found, error = _from_accounting(vanished[submission.name], mine, submission)
            rows |= found
            if error is not None:
                errors[submission.name] = error
    return rows, errors


def _from_journals(life: Life) -> str | None:
    """Return what the attempt, or its supervisor, said of its end; None where neither did."""
    story = life.story
    if story.gave_up:
        return f"gave up: {story.message}"
    requeued = f", put back into the queue ({story.requeue_cause})" if story.requeue_cause else ""
    if life.error is not None:
        return f"failed as a whole: {life.error.get('type')}: {life.error.get('message')}{requeued}"
    if life.crash is not None:
        return f"crashed ({life.crash})"
    if story.end_reason is not None:
        return _stopped(life) + (f" ({life.signal})" if life.signal else "") + requeued
    if story.exit_code is not None and story.exit_code < 0:
        return f"killed ({_signal_name(-story.exit_code)})"
    if story.exit_code is not None:
        return f"ended with exit code {story.exit_code}, without a word"
    if story.superseded:
        return "of a cluster that was rebuilt since"
    return requeued.removeprefix(", ") or None


def _stopped(life: Life) -> str:
    reason = str(life.story.end_reason)
    if reason == "failed":
        failed = sum(visit.outcome == "failed" for visit in life.visits.values())
        return f"ended after {failed} failed shard{'s' if failed != 1 else ''}"
    return _WORDS.get(reason, f"{reason}: {life.story.message}".rstrip(": "))


def _from_accounting(
    vanished: Sequence[Life], lives: Sequence[Life], submission: Submission
) -> tuple[dict[int, AccountingRow], str | None]:
    elements = sorted({life.story.element_id for life in vanished})
    since = float(submission.record["created"]) - _SINCE_SLACK_S
    with environment_of(submission.environment):
        answer = read_accounting(elements, since=since)
    if answer.error is not None:
        return {}, answer.error
    found: dict[int, AccountingRow] = {}
    unexplained = {id(life) for life in vanished}
    for element in elements:
        # A lone element is a plain job, which accounting calls by its number alone.
        rows = answer.of(element) or answer.of(element.partition("_")[0])
        mine = {life.story.restart: life for life in lives if life.story.element_id == element}
        starts = {restart: life.story.started or None for restart, life in mine.items()}
        matched = match_lives(rows, starts, max(starts) + 1)
        for restart, life in mine.items():
            if restart in matched and id(life) in unexplained:
                found[id(life)] = matched[restart]
    return found, None


def _state(row: AccountingRow) -> str:
    if row.end is None:
        return f"Slurm says {row.state} on {row.node}"
    return f"{_UNKNOWN}; Slurm says {row.state} (exit {row.exit_code})"


def _from_processes(life: Life, lives: Sequence[Life], submission: Submission) -> str | None:
    try:
        is_alive = is_living(submission, QueueSnapshot((), 0.0, None))
    except ValueError as error:
        return str(error)
    element = (life.story.submission, life.element)
    last = max(one.story.restart for one in lives if (one.story.submission, one.element) == element)
    return "at work" if is_alive and life.story.restart == last else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
