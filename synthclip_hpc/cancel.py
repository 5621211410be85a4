"""`python -m synthclip_hpc.cancel run=...`: end all of a run that is alive. Finished work stays; `resume` goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import run_command

_PATIENCE_S = 20.0


@dataclass(frozen=True)
class CancelOptions(RunOptions):
    """Options of `cancel`."""

    stage: str = ""
    """Only these stages (comma-separated; default: all)."""


def cancel(argv: list[str]) -> int:
    """Cancel jobs by id and by name, and local supervisors by process; return the exit code."""
    options = parse_run_options(CancelOptions, argv, "python -m synthclip_hpc.cancel", "End what is alive of a run.")
    run = existing_run(options.run)
    from synthclip_hpc.launch.launching import use_environment
    from synthclip_hpc.launch.liveness import open_submissions
    from synthclip_hpc.pipeline import parse_stages
    from synthclip_hpc.processes import is_alive
    from synthclip_hpc.submissions import all_submissions, update

    stages = parse_stages(options.stage or "all")
    known = all_submissions(run)
    use_environment(known)
    mine = [one for one in open_submissions(known) if one.stage in stages]
    jobs = [one for one in mine if one.cluster == "slurm"]
    if jobs:
        from slurm.attempt import cancel as cancel_jobs

        cancel_jobs(
            [job for one in jobs for job in one.job_ids], sorted({name for one in jobs for name in one.job_names})
        )
    supervisors = [one.record["supervisor"] for one in mine if is_alive(one.record.get("supervisor"))]
    for who in supervisors:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(who["pid"]), signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_S
    while any(is_alive(who) for who in supervisors) and time.monotonic() < deadline:
        time.sleep(0.1)
    for one in mine:
        update(one, state="cancelled")
    ended = ", ".join(one.name for one in mine) or "nothing was alive"
    print(f"cancelled: {ended}. Finished shards stay; go on with: python -m synthclip_hpc.resume run={run.path}")
    return 0


def main() -> int:
    """Entry point."""
    return run_command(cancel)


if __name__ == "__main__":
    sys.exit(main())
