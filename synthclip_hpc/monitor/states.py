"""What state a phase is in, from its journals, its submissions and the queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slurm.queue import QueueRow, QueueSnapshot
from synthclip_hpc.monitor.journals import PhaseJournals, Story
from synthclip_hpc.monitor.waits import in_words, waits_of
from synthclip_hpc.submissions import Submission

CLOCK_SKEW_S = 5.0
"""Nodes' clocks may differ by so much from the one that reads the queue."""
UNHEARD_S = 120.0
"""While squeue fails, an attempt heard of in this time counts as running."""


def running_attempts(stories: Iterable[Story], alive: list[Submission], queue: QueueSnapshot, now: float) -> set[str]:
    """Name the attempts that are alive: the last life of each element that queue or supervisor keep running.

    An attempt heard of after the queue was read cannot be judged by it; one heard of lately counts while squeue fails.
    """
    in_queue = {row.job_id for row in queue.rows if row.state in ("RUNNING", "COMPLETING")}
    believed_after = now - UNHEARD_S if queue.error else queue.taken_at - CLOCK_SKEW_S
    local = {f"local{one.number}" for one in alive if one.cluster == "local"}
    last: dict[tuple[str, Any], Story] = {}
    for story in stories:
        queued = story.element_id in in_queue or story.job in in_queue
        unjudged = queue.taken_at > 0 and story.job.isdigit() and now - story.silent_s(now) > believed_after
        if story.clock.tells_no_age and not queue.error:
            unjudged = False  # the queue was asked at the same look
        if story.role == "work" and not story.superseded and (queued or unjudged or story.job in local):
            kept = last.get((story.job, story.index))
            if kept is None or _is_later(story, kept):
                last[story.job, story.index] = story
    return {story.name for story in last.values() if not story.is_over}


def _is_later(story: Story, other: Story) -> bool:
    # A rebuilt cluster counts jobs from the beginning: of two submissions with one job id, restarts do not tell.
    if story.submission and other.submission and story.submission != other.submission:
        return story.started > other.started
    return story.restart > other.restart


def _last_message(stories: Sequence[Story], num_open: int) -> str:
    """Return why the latest submission is not further: a worker's own words before those of the seal job, which only
    knows what is missing, and is not heard once other shards are. `stories` in the order in which they were heard of
    last; `num_open`: shards that are not done now."""
    told = [story for story in stories if story.message]
    latest = [story for story in told if story.submission == told[-1].submission]
    worker = next((story.message for story in reversed(latest) if story.role == "work"), "")
    # An older version did not say how many were missing.
    holds = [story.message for story in latest if story.num_missing in (None, num_open)]
    return worker or (holds[-1] if holds else "")


def phase_state(
    is_sealed: bool,
    alive: list[Submission],
    rows: list[QueueRow],
    running: set[str],
    journals: PhaseJournals,
    causes: Mapping[str, int],
    *,
    was_submitted: bool,
    num_open: int,
    lacks: str = "",
) -> tuple[str, str]:
    """Return the state and a line that says why.

    `was_submitted`: whether it has had jobs, alive or not; `num_open`: shards that are not done; `lacks`: what it
    builds on and is not complete, empty if all is.
    """
    if is_sealed:
        return "done", ""
    stories = sorted(journals.stories.values(), key=lambda story: story.heard)
    last_message = _last_message(stories, num_open)
    if running or any(row.state in ("RUNNING", "COMPLETING", "CONFIGURING") for row in rows):
        # What a seal job missed at the end of the last submission, or what failed then, is being made now.
        current = {one.name for one in alive}
        mine = [one for one in stories if one.role == "work" and one.submission in current]
        return "running", _last_message(mine, num_open)
    stuck = next((wait for wait in waits_of(rows) if wait.stuck), None)
    if stuck is not None:
        return "blocked", _with_reason(stuck.text, stuck.reason)
    waiting = [row for row in rows if not row.name.endswith("-seal")]
    if rows and not waiting:
        return "running", "the seal job checks that nothing is missing"
    pending = Counter(row.reason for row in waiting)
    if pending:
        reason = pending.most_common(1)[0][0]
        return ("waiting" if set(pending) == {"Dependency"} else "pending"), _with_reason(in_words(reason)[0], reason)
    if alive:
        started = any(story.submission == one.name for one in alive for story in stories)
        return ("running", last_message) if started else ("waiting", "waits for its turn")
    if causes.get("failure") or any(story.gave_up for story in stories):
        return "failed", last_message
    has_begun = any(story.role == "work" for story in stories)
    if lacks and not has_begun and (stories or was_submitted):
        # All that its seal job can say is that everything is missing; the cause is told where it lies.
        return "partial", f"not begun: {lacks} is incomplete"
    if stories:
        return "partial", last_message or "nothing of it is at work or waits any more: resume goes on with what is open"
    if was_submitted:
        return "partial", "its jobs were gone before any began: resume"
    return "waiting", "planned, not submitted"


def _with_reason(text: str, reason: str) -> str:
    return f"{text} (Slurm: {reason})"
