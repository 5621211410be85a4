"""`python -m synthclip_hpc.cancel run=...`: end all of a run that is alive. Finished work stays; `resume` goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import UserError, run_command
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission

_PATIENCE_S = 20.0


@dataclass(frozen=True)
class CancelOptions(RunOptions):
    """Options of `cancel`."""

    stage: str = ""
    """Only these stages (comma-separated; default: all)."""


def cancel(argv: list[str]) -> int:
    """Cancel jobs by their names, which are the run's alone, and local supervisors by process; return the exit code.

    Word is left first, then signals are sent: a command that is still submitting takes back what it has started.
    """
    options = parse_run_options(CancelOptions, argv, "python -m synthclip_hpc.cancel", "End what is alive of a run.")
    run = existing_run(options.run)
    from sharding.seal import load_seal
    from synthclip_hpc.launch.environment import by_cluster
    from synthclip_hpc.launch.liveness import living, open_submissions
    from synthclip_hpc.stage_order import parse_stages
    from synthclip_hpc.submissions import all_submissions, mark_cancelled

    stages = parse_stages(options.stage or "all")
    mine = [one for one in open_submissions(all_submissions(run)) if one.stage in stages]
    mine = [one for one in mine if load_seal(run.phase(one.stage, one.phase)) is None]
    try:
        alive = living(mine)
    except UserError:
        alive = mine  # the queue cannot be asked; cancelling what has ended does no harm
    for one in alive:
        mark_cancelled(one)
    # What runs here first: it needs no cluster's answer.
    _end_supervisors([one for one in alive if one.cluster == "local"])
    refusals: dict[str, str] = {}
    for group in by_cluster(alive):
        refusal = _cancel_jobs(group)
        if refusal is not None:
            refusals |= {one.name: refusal for one in group}
    ended = [one.name for one in alive if one.name not in refusals]
    if ended or not refusals:
        print(
            f"cancelled: {', '.join(ended) or 'nothing was alive'}. "
            f"Finished shards stay; go on with: python -m synthclip_hpc.resume run={run.path}"
        )
    if refusals:
        reasons = "; ".join(dict.fromkeys(refusals.values()))
        raise UserError(f"not cancelled: {', '.join(refusals)}: {reasons}. Try again when Slurm answers")
    return 0


def _cancel_jobs(group: Sequence[Submission]) -> str | None:
    """Cancel the jobs of one cluster; return its refusal, after taking back the word that they are cancelled."""
    from slurm.attempt import CancelRefused
    from slurm.attempt import cancel as cancel_jobs
    from synthclip_hpc.launch.environment import environment_of
    from synthclip_hpc.submissions import unmark_cancelled

    try:
        with environment_of(group[0].environment):
            cancel_jobs(names=[name for one in group for name in one.job_names])
    except CancelRefused as refusal:
        for one in group:
            unmark_cancelled(one)
        return str(refusal)
    return None


def _end_supervisors(submissions: Sequence[Submission]) -> None:
    from synthclip_hpc.processes import is_alive
    from synthclip_hpc.submissions import load_submission

    # Read again: a supervisor that had not recorded itself yet either has by now, or will see the word left for it.
    fresh = [load_submission(Run(one.path.parent.parent), one.name) for one in submissions]
    supervisors = [one.record["supervisor"] for one in fresh if is_alive(one.record.get("supervisor"))]
    for who in supervisors:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(who["pid"]), signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_S
    while any(is_alive(who) for who in supervisors) and time.monotonic() < deadline:
        time.sleep(0.1)


def main() -> int:
    """Entry point."""
    return run_command(cancel)


if __name__ == "__main__":
    sys.exit(main())
