"""Which submissions are still alive: in the queue, or under a local supervisor that runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from slurm.queue import QueueSnapshot, read_queue
from synthclip_hpc.errors import UserError
from synthclip_hpc.processes import is_alive, is_elsewhere
from synthclip_hpc.submissions import Submission

_CLAIM_LASTS_S = 600
"""A claim made on another host, without a job in the queue, counts as abandoned after this time."""
_OVER = {"refused", "withdrawn", "ended", "cancelled"}


def open_submissions(submissions: Sequence[Submission]) -> list[Submission]:
    """Return those that may still have something running."""
    return [one for one in submissions if one.state not in _OVER]


def queue_names(submissions: Sequence[Submission]) -> list[str]:
    """Return the job names to ask the queue for, each once."""
    return sorted({name for one in submissions if one.cluster == "slurm" for name in one.job_names})


def living(submissions: Sequence[Submission], *, assume_ended: bool = False) -> list[Submission]:
    """Return the submissions that are alive, with one call of squeue at most.

    Raises UserError when squeue cannot tell, unless `assume_ended`: a wrong guess costs time, never a result.
    """
    candidates = open_submissions(submissions)
    names = queue_names(candidates)
    queue = read_queue(names) if names and not assume_ended else QueueSnapshot((), time.time(), None)
    if queue.error is not None:
        raise UserError(
            f"cannot tell which jobs still run: {queue.error}. "
            "Try again, or, if you know that they have ended, add assume_ended=true"
        )
    return [one for one in candidates if is_living(one, candidates, queue, assume_ended)]


def is_living(one: Submission, others: Sequence[Submission], queue: QueueSnapshot, assume_ended: bool = False) -> bool:
    """Tell whether one submission is alive, given the queue."""
    if one.cluster == "local":
        who = one.record.get("supervisor") or one.record.get("claimer")
        if is_elsewhere(who) and not assume_ended:
            raise UserError(
                f"submission {one.name} was started on host {who['host'] if who else '?'}, which cannot be asked "
                "from here; run this command there, or, if that host's processes have ended, add assume_ended=true"
            )
        return is_alive(who)
    recorded = {job for other in others for job in other.job_ids}
    mine = set(one.job_ids)
    if any(row.array_job_id in mine for row in queue.rows):
        return True
    if one.state != "claimed":
        return False
    # Submitted, but killed before the job ids were recorded: such a job is found by its name.
    if any(row.name in one.job_names and row.array_job_id not in recorded for row in queue.rows):
        return True
    claimer = one.record.get("claimer")
    return is_alive(claimer) or (is_elsewhere(claimer) and time.time() - float(one.record["created"]) < _CLAIM_LASTS_S)
