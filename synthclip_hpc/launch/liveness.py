"""Which submissions are still alive: in the queue, or under a local supervisor that runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from slurm.queue import QueueSnapshot, read_queue
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.environment import by_cluster, environment_of
from synthclip_hpc.processes import is_alive, is_elsewhere
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions

_CLAIM_LASTS_S = 600
"""A claim made on another host, without a job in the queue, counts as abandoned after this time."""
_OVER = {"ended", "cancelled"}
NO_CLUSTER = "none"
"""`cluster` of a claim without work: a command holds a phase by it for as long as it replaces the phase's plan."""
_NOTHING = QueueSnapshot((), 0.0, None)


def open_submissions(submissions: Sequence[Submission]) -> list[Submission]:
    """Return those that may still have something running."""
    return [one for one in submissions if one.state not in _OVER]


def queue_names(submissions: Sequence[Submission]) -> list[str]:
    """Return the job names to ask the queue for, each once."""
    return sorted({name for one in submissions if one.cluster == "slurm" for name in one.job_names})


def has_jobs(one: Submission) -> bool:
    """Tell whether a submission has come as far as having jobs or a supervisor, alive or not."""
    return one.cluster != NO_CLUSTER and one.record["state"] != "claimed"


def living(submissions: Sequence[Submission], *, assume_ended: bool = False) -> list[Submission]:
    """Return the submissions that are alive, with one call of squeue for each cluster at most.

    Raises UserError when squeue cannot tell, unless `assume_ended`: a wrong guess costs time, never a result.
    """
    candidates = open_submissions(submissions)
    alive = [one for one in candidates if one.cluster != "slurm" and is_living(one, _NOTHING, assume_ended)]
    for group in by_cluster(candidates):
        queue = _NOTHING
        if not assume_ended:
            with environment_of(group[0].environment):
                queue = read_queue(queue_names(group))
        if queue.error is not None:
            raise UserError(
                f"cannot tell which jobs still run: {queue.error}. "
                "Try again, or, if you know that they have ended, add assume_ended=true"
            )
        alive += [one for one in group if is_living(one, queue, assume_ended)]
    return sorted(alive, key=lambda one: one.number)


def earlier_living(run: Run, mine: Submission, *, assume_ended: bool = False) -> list[Submission]:
    """Return, after a claim, the earlier submissions of its phase that are alive: of two at once the lower stays."""
    same = [one for one in all_submissions(run) if (one.stage, one.phase) == (mine.stage, mine.phase)]
    return living([one for one in same if one.number < mine.number], assume_ended=assume_ended)


def is_living(one: Submission, queue: QueueSnapshot, assume_ended: bool = False) -> bool:
    """Tell whether one submission is alive, given the queue of its cluster."""
    if one.cluster == "local":
        # Until the supervisor has recorded itself, the command that starts it counts.
        who = one.record.get("supervisor") or one.record.get("claimer")
        if is_elsewhere(who) and not assume_ended:
            raise UserError(
                f"submission {one.name} was started on host {who['host'] if who else '?'}, which cannot be asked "
                "from here; run this command there, or, if that host's processes have ended, add assume_ended=true"
            )
        return is_alive(who)
    # By name, which is this submission's alone: so a job is found whose id was never recorded, and no other job is.
    if any(row.name in one.job_names for row in queue.rows):
        return True
    return one.state == "claimed" and is_being_submitted(one, assume_ended)


def is_being_submitted(one: Submission, assume_ended: bool = False) -> bool:
    """Tell whether the command that claimed a submission is still about it."""
    claimer = one.record.get("claimer")
    recent = time.time() - float(one.record["created"]) < _CLAIM_LASTS_S
    return is_alive(claimer) or (is_elsewhere(claimer) and recent and not assume_ended)
