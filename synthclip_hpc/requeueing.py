"""When an element puts itself back into the queue, and when it has been put back too often.

Requeue has one owner: Slurm after a preemption or a lost node, the element itself after advance notice (USR2) of its
time limit or of a preemption with grace. Each cause has a limit of its own (`retries.*`).
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter

from sharding.journal import Journal, read_events
from slurm.attempt import Attempt, RequeueRefused, requeue
from slurm.commands import run_command
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission

# The notice of a time limit may come early, because Slurm rounds; one that comes earlier still is a preemption's.
_SLACK_S = 60


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


def may_start(run: Run, submission: Submission, attempt: Attempt) -> None:
    """End this attempt before it starts when its element was interrupted too often by one cause.

    What its journals cannot explain is asked of Slurm's accounting, once, and only when there is enough of it.
    """
    limits = submission.config.retries
    causes = own_causes(run, submission, attempt)
    unexplained = attempt.restart - sum(causes.values())
    if unexplained > min(limits.node_failures, limits.unknown, limits.preemptions):
        from slurm.accounting import ended_by, read_accounting

        rows = read_accounting([attempt.element_id], timeout_s=10).rows
        asked = Counter(ended_by(row.state) for row in rows[: attempt.restart])
        told = asked["node_failure"] + asked["preemption"] + asked["requeue"]
        causes["node_failure"] += asked["node_failure"]
        causes["preemption"] += asked["preemption"] + asked["requeue"]
        causes["unknown"] += max(0, unexplained - told)
    allowed = {"preemption": limits.preemptions, "node_failure": limits.node_failures, "unknown": limits.unknown}
    for cause, limit in allowed.items():
        if causes[cause] > limit:
            journal = Journal(run.phase(submission.stage, submission.phase).journal_path(attempt.name))
            journal.event("gave_up", cause=cause, count=causes[cause], limit=limit)
            print(f"interrupted {causes[cause]} times by {cause}, limit {limit}; run resume to go on", file=sys.stderr)
            sys.exit(1)


def own_causes(run: Run, submission: Submission, attempt: Attempt) -> Counter[str]:
    """Count why this element was requeued before, as far as its own journals say."""
    directory = run.phase(submission.stage, submission.phase)
    mine = re.compile(rf"{re.escape(attempt.job)}_{attempt.index}_(\d+)")
    causes: Counter[str] = Counter()
    for name in directory.attempts():
        match = mine.fullmatch(name)
        if match and int(match[1]) < attempt.restart:
            for event in read_events(directory.journal_path(name))[0]:
                if event["event"] == "requeue":
                    causes[event["cause"]] += 1
    return causes


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
