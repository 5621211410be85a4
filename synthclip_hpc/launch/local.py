"""`cluster=local`: the same workers as processes of this machine, under one supervisor that outlives the command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from synthclip_hpc.config import RunConfig
from synthclip_hpc.config_files import to_table
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.chain import Link, local_workers
from synthclip_hpc.log_files import supervisor_log
from synthclip_hpc.processes import identify
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, claim, load_submission

_START_PATIENCE_S = 60.0


def claim_link(
    run: Run, link: Link, missing: Sequence[int], config: RunConfig, after: str | None, provenance: dict[str, Any]
) -> Submission | None:
    """Claim a local submission for the missing shards of a phase; `after` names the submission it waits for."""
    record = {
        "cluster": "local",
        "cluster_option": "local",
        "stage": link.phase.stage,
        "phase": link.phase.name,
        "plan_hash": link.plan.hash,
        "num_shards": len(missing),
        "num_elements": max(1, min(len(missing), local_workers(config, link.phase))),
        "config": to_table(config),
        "claimer": identify(os.getpid()),
        "after": after,
        "provenance": provenance,
    }
    return claim(run, link.phase.stage, missing, record)


def start_supervisor(run: Run, submissions: Sequence[Submission]) -> None:
    """Start the detached supervisor of a chain of submissions, and wait until it has recorded itself.

    Raises UserError, with its log, when it does not.
    """
    names = [one.name for one in submissions]
    log_path = supervisor_log(run, submissions[0].stage, names[0])
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "synthclip_hpc.launch.supervisor", str(run.path), *names],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_PATIENCE_S
    while not all("supervisor" in load_submission(run, name).record for name in names):
        if process.poll() is not None or time.monotonic() > deadline:
            raise UserError(f"the local supervisor did not start; see {log_path}, then: resume run={run.path}")
        time.sleep(0.02)
