"""Where the logs of a submission are: one an element, appended to over its restarts, and one of whoever seals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission


def array_log(run: Run, stage: str, submission: str) -> Path:
    """Return the log of a Slurm array's elements as sbatch wants it, with %A (array) and %a (index)."""
    return run.logs(stage) / f"{submission}_%A_%a.log"


def seal_log(run: Run, stage: str, submission: str) -> Path:
    """Return the log of a seal job as sbatch wants it, with %j (job)."""
    return run.logs(stage) / f"{submission}_seal_%j.log"


def worker_log(run: Run, stage: str, submission: str, element: int) -> Path:
    """Return the log of a worker on this machine."""
    return run.logs(stage) / f"{submission}_{element}.log"


def supervisor_log(run: Run, stage: str, submission: str) -> Path:
    """Return the log of a supervisor on this machine, which also seals; the first submission of its chain names it."""
    return run.logs(stage) / f"{submission}_supervisor.log"


def log_of(run: Run, submission: Submission, *, role: str, job: str, index: object, element: int | None) -> Path | None:
    """Return the log of an attempt, by what its journal's `start` says of it; None where that is not enough.

    The log of a seal on this machine is that of a supervisor whose chain begins with this submission; see `chain_of`.
    """
    stage, name = submission.stage, submission.name
    is_seal = role in ("supervisor", "seal")
    if submission.cluster == "local":
        if is_seal:
            return supervisor_log(run, stage, name)
        return worker_log(run, stage, name, element) if element is not None else None
    if is_seal:
        return Path(str(seal_log(run, stage, name)).replace("%j", job))
    # By its recorded name, in this run's own folder: a copied run must not lead to the logs of the first one.
    pattern = Path(str(submission.record.get("log") or array_log(run, stage, name))).name
    return run.logs(stage) / pattern.replace("%A", job).replace("%a", str(index))


def chain_of(submission: Submission, submissions: Sequence[Submission]) -> list[Submission]:
    """Return the submissions that one supervisor works through after one another, of all of a run in their order."""
    who = submission.record.get("supervisor")
    return [one for one in submissions if who is not None and one.record.get("supervisor") == who] or [submission]
