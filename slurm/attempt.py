"""One life of a job or array element: who it is, how it is requeued and cancelled."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .commands import run_command
from .queue import check_names

_IDS_PER_CALL = 500


class RequeueRefused(Exception):
    """Slurm would not requeue the job; what is open stays open for a new submission."""


class CancelRefused(Exception):
    """Slurm would not cancel, or could not be reached: jobs may still be running."""


@dataclass(frozen=True)
class Attempt:
    """One life of an element. A plain job is element 0 of itself."""

    job: str
    """The array's job id, or the plain job's."""
    index: int
    restart: int
    """How often Slurm has restarted it (0 in its first life)."""
    node: str
    is_array: bool = True

    @property
    def name(self) -> str:
        """`123_4_0`: job, index, restart; no two lives have the same."""
        return f"{self.job}_{self.index}_{self.restart}"

    @property
    def element_id(self) -> str:
        """`123_4`, or `123` for a plain job: what scontrol needs.

        In an array SLURM_JOB_ID must not be used for it: one element has the number of the array itself there, and
        requeueing that number means all elements.
        """
        return f"{self.job}_{self.index}" if self.is_array else self.job


def from_environment(environ: Mapping[str, str]) -> Attempt | None:
    """The attempt that this process belongs to, or None outside a Slurm job."""
    if not environ.get("SLURM_JOB_ID"):
        return None
    restart = int(environ.get("SLURM_RESTART_COUNT") or 0)
    node = environ.get("SLURMD_NODENAME") or os.uname().nodename
    array = environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return Attempt(array, int(environ["SLURM_ARRAY_TASK_ID"]), restart, node)
    return Attempt(environ["SLURM_JOB_ID"], 0, restart, node, is_array=False)


def requeue(element_id: str, timeout_s: float = 30) -> None:
    """Put a running job or element back into the queue: Slurm ends it and starts it again with a higher restart count.

    Raises RequeueRefused with Slurm's words. A caller that has requeued itself may end at once, with any exit status:
    Slurm has recorded its decision by then. Waiting for the kill would only hold the node.
    """
    answer = run_command(["scontrol", "requeue", element_id], timeout_s)
    # scontrol runs inside the job that it has just requeued, so that the requeue may end it before it can say so.
    if answer.error and answer.returncode not in (-signal.SIGTERM, -signal.SIGKILL):
        raise RequeueRefused(f"cannot requeue {element_id}: {answer.error}")


def cancel(job_ids: Sequence[str] = (), names: Sequence[str] = (), timeout_s: float = 30) -> None:
    """Cancel jobs by id, and the caller's own jobs by exact name. Jobs that have ended already are no error.

    Raises CancelRefused if any of the calls fails, after all of them were tried.
    """
    check_names(names)
    calls = [list(job_ids[start : start + _IDS_PER_CALL]) for start in range(0, len(job_ids), _IDS_PER_CALL)]
    # One call for each name: together with ids, or with a second name, scancel takes filters as "and".
    calls += [[f"--name={name}", f"--user={os.getuid()}"] for name in names]
    errors = []
    for arguments in calls:
        answer = run_command(["scancel", *arguments], timeout_s)
        if answer.error and not _has_ended(answer.stderr):
            errors.append(answer.error)
    if errors:
        raise CancelRefused("; ".join(dict.fromkeys(errors)))


def _has_ended(stderr: str) -> bool:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return bool(lines) and all("Invalid job id" in line or "already completing or completed" in line for line in lines)
