"""When an element puts itself back into the queue, and when it has been put back too often.

Requeue has one owner: Slurm after a preemption or a lost node, the element itself after advance notice (USR2) of its
time limit or of a preemption with grace. Each cause has a limit of its own (`retries.*`).
"""

from __future__ import annotations

import random
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharding.journal import Journal, read_events
from slurm.attempt import Attempt, RequeueRefused, requeue
from slurm.avoidance import avoid_node
from slurm.commands import run_command
from synthclip_hpc.node_check import CAUSE
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission

# The notice of a time limit may come early, because Slurm rounds; one that comes earlier still is a preemption's.
_SLACK_S = 60
JITTER_S = 20.0
"""Elements that start together ask accounting within so many seconds."""
SINCE_SLACK_S = 3600.0
"""Accounting is asked from so long before the submission was made: its clock may differ from the submit host's."""
_TRIES, _BETWEEN_TRIES_S = 4, 0.5
"""An element that was requeued an instant ago may not count as waiting yet."""
# Slurm's word for a preempted life is often REQUEUED; those that the element requeued itself are told by its journal.
_CAUSE_OF_STATE = {"node_failure": "node_failure", "preemption": "preemption", "requeue": "preemption"}


def after_notice(run: Run, submission: Submission, attempt: Attempt, started: float) -> bool:
    """Requeue this element after advance notice; False when its cause has used up its limit, or Slurm refuses.

    `started` is when this attempt began (seconds since 1970).
    """
    # The limit as it was asked for: Slurm itself moves a job's end time forward when it preempts with grace.
    notice_at_s = 60 * submission.record["time_min"] - submission.record["signal_lead_s"] - _SLACK_S
    cause = "timeout" if time.time() - started >= notice_at_s else "preemption"
    journal = Journal(run.phase(submission.stage, submission.phase).journal_path(attempt.name))
    limits = submission.config.retries
    limit = limits.timeouts if cause == "timeout" else limits.preemptions
    earlier = own_causes(run, submission, attempt)[cause]
    if earlier >= limit:
        journal.event("gave_up", cause=cause, count=earlier + 1, limit=limit)
        return False
    return _requeue(journal, attempt, cause)


def after_orphaned(run: Run, submission: Submission, attempt: Attempt) -> bool:
    """Requeue this element when its slurmstepd was killed and Slurm has not noticed; False when Slurm knows better.

    srun then waits for a step that nobody will ever end, and holds the node until the time limit. Only the element's
    present life may do this: the old attempt of a lost node must not put its own successor back.
    """
    if _present_restart(attempt.element_id) != attempt.restart:
        return False
    journal = Journal(run.phase(submission.stage, submission.phase).journal_path(attempt.name))
    return _requeue(journal, attempt, "unknown")


def after_unfit(run: Run, submission: Submission, attempt: Attempt) -> bool:
    """Requeue this element, whose node is unfit, so that another node does its share; False when that is in vain.

    In vain it is when Slurm has chosen the same node again, when `retries.unfit_nodes` others were unfit as well, and
    when Slurm refuses. The shards then stay open for `resume`.
    """
    journal = Journal(run.phase(submission.stage, submission.phase).journal_path(attempt.name))
    if attempt.is_array:
        _keep_away(journal, attempt.job, attempt.node)  # those that wait would be drawn in one after the other
    lives = _earlier_lives(run, submission, attempt).values()
    unfit = [life.node for life in lives if life.cause == CAUSE]
    limit = submission.config.retries.unfit_nodes
    if attempt.node in unfit or len(unfit) >= limit:
        journal.event("left_open", cause=CAUSE, count=len(unfit) + 1, limit=limit, nodes=[*unfit, attempt.node])
        nodes = ",".join(sorted({*unfit, attempt.node}))
        go_on = f"python -m synthclip_hpc.resume run={shlex.quote(str(run.path))} exclude={nodes}"
        print(f"the shards stay open: {go_on}", file=sys.stderr)
        return False
    if not _requeue(journal, attempt, CAUSE):
        return False
    # Slurm changes only what waits, so this comes last; it leaves some seconds until it kills this process.
    _keep_away(journal, attempt.element_id, attempt.node, tries=_TRIES)
    return True


def _keep_away(journal: Journal, job_id: str, node: str, tries: int = 1) -> None:
    refused = avoid_node(job_id, node)
    for _ in range(tries - 1):
        if refused is None:
            break
        time.sleep(_BETWEEN_TRIES_S)
        refused = avoid_node(job_id, node)
    journal.event("node_avoided" if refused is None else "node_not_avoided", node=node, job=job_id, reason=refused)


def may_start(run: Run, submission: Submission, attempt: Attempt) -> None:
    """End this attempt before it starts when its element was interrupted too often by one cause.

    Its own journals tell first. Slurm's accounting is asked about the lives that they do not explain, and only when
    these are enough to pass a limit. No answer is no evidence: then the attempt starts.
    """
    limits = submission.config.retries
    allowed = {"preemption": limits.preemptions, "node_failure": limits.node_failures, "unknown": limits.unknown}
    lives = _earlier_lives(run, submission, attempt)
    causes = _causes(lives)
    unexplained = [n for n in range(attempt.restart) if n not in lives or lives[n].cause is None]
    if any(causes[cause] + len(unexplained) > limit for cause, limit in allowed.items()):
        causes += _ask_accounting(submission, attempt, lives, unexplained)
    for cause, limit in allowed.items():
        if causes[cause] > limit:
            journal = Journal(run.phase(submission.stage, submission.phase).journal_path(attempt.name))
            journal.event("gave_up", cause=cause, count=causes[cause], limit=limit)
            print(f"interrupted {causes[cause]} times by {cause}, limit {limit}; run resume to go on", file=sys.stderr)
            sys.exit(1)


def own_causes(run: Run, submission: Submission, attempt: Attempt) -> Counter[str]:
    """Count why this element was requeued before, as far as its own journals say."""
    return _causes(_earlier_lives(run, submission, attempt))


@dataclass
class _Life:
    """An earlier life of the element, as its journal tells it."""

    started: float | None = None
    cause: str | None = None
    node: str = ""


def _causes(lives: Mapping[int, _Life]) -> Counter[str]:
    return Counter(life.cause for life in lives.values() if life.cause is not None)


def _earlier_lives(run: Run, submission: Submission, attempt: Attempt) -> dict[int, _Life]:
    """Read this element's own earlier journals, and no other; by restart count."""
    directory = run.phase(submission.stage, submission.phase)
    mine = re.compile(rf"{re.escape(attempt.job)}_{attempt.index}_(\d+)")
    numbered = {int(match[1]): name for name in directory.attempts() if (match := mine.fullmatch(name))}
    lives = {}
    for restart, name in numbered.items():
        if restart < attempt.restart:
            life = _read_life(read_events(directory.journal_path(name))[0], submission.name)
            if life is not None:
                lives[restart] = life
    return lives


def _read_life(events: Sequence[dict[str, Any]], submission: str) -> _Life | None:
    """Return the last life in a journal, None when it was another submission's (a rebuilt cluster repeats job ids)."""
    life, is_mine = _Life(), True
    for event in events:
        if event["event"] == "start":
            life = _Life(started=event.get("time"), node=str(event.get("node", "")))
            is_mine = event.get("submission", submission) == submission
        elif event["event"] == "requeue":
            life.cause = event.get("cause")
    return life if is_mine else None


def _ask_accounting(
    submission: Submission, attempt: Attempt, lives: Mapping[int, _Life], unexplained: Collection[int]
) -> Counter[str]:
    """Count by what Slurm says ended the unexplained lives; nothing when it does not answer."""
    from slurm.accounting import ended_by, match_lives, read_accounting

    # After a mass preemption hundreds of elements come here in the same second.
    time.sleep(random.uniform(0, JITTER_S))
    since = float(submission.record["created"]) - SINCE_SLACK_S
    answer = read_accounting([attempt.element_id], timeout_s=10, since=since)
    if answer.error is not None:
        print(f"{answer.error}; why this element was interrupted earlier stays open", file=sys.stderr)
        return Counter()
    ended = [row for row in answer.of(attempt.element_id) if row.end is not None]
    starts = {restart: lives[restart].started if restart in lives else None for restart in range(attempt.restart)}
    rows = match_lives(ended, starts, attempt.restart)
    return Counter(
        _CAUSE_OF_STATE.get(ended_by(rows[restart].state), "unknown") if restart in rows else "unknown"
        for restart in unexplained
    )


def _present_restart(element_id: str) -> int | None:
    """Which life of the element Slurm believes to be running now; None for none, or when it does not answer."""
    command = ["squeue", "-h", "-j", element_id, "-t", "RUNNING", "-O", "RestartCnt:20"]
    answer = run_command(command, timeout_s=10).stdout.strip()
    return int(answer) if answer.isascii() and answer.isdigit() else None


def _requeue(journal: Journal, attempt: Attempt, cause: str) -> bool:
    # Journalled first: a successful requeue may kill this process at once.
    journal.event("requeue", cause=cause)
    try:
        requeue(attempt.element_id, timeout_s=30)
    except RequeueRefused as error:
        journal.event("requeue_refused", cause=cause, message=str(error))
        print(f"requeue refused: {error}; the shards stay open for resume", file=sys.stderr)
        return False
    return True
