"""What one array element (or local worker process) executes: its share of a submission's shards, one after another.

Crash-only: every start is a recovery, and being killed is the normal end. Signals make the loss smaller, nothing more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.canonical import canonical_json
from sharding.drift import differences, explain
from sharding.journal import Journal
from sharding.plan import Plan, load_plan
from slurm.attempt import Attempt, from_environment
from slurm.signals import StopFlag, Stopped
from synthclip_hpc.config import flatten
from synthclip_hpc.errors import UserError
from synthclip_hpc.node_check import CAUSE, EXIT_UNFIT, Look, NodeUnfit, look_at_node, within
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.run import Run
from synthclip_hpc.shares import shares_of
from synthclip_hpc.submissions import Submission, load_submission
from synthclip_hpc.work import Bench, bound_inputs, describe, work

if TYPE_CHECKING:
    from synthclip_hpc.config import RunConfig


_LAST_WORDS_S = 120.0
"""So long an element may take to tell that its node is unfit, and as long again to see to its share."""


def run_attempt(
    run: Run,
    submission: Submission,
    attempt: Attempt,
    element: int,
    stop: StopFlag,
    num_tasks: int = 1,
    look: Look = look_at_node,
) -> str:
    """Work through one element's share; return how it ended, as the journal's `end` event says it.

    `completed`, `failed` (shards with errors of our own), `error` (the attempt itself), `notice` (advance notice of a
    time limit or preemption), `terminated`, `orphaned`, `node_unfit` (what `look` found; nothing was done here).
    """
    directory = run.phase(submission.stage, submission.phase)
    journal = Journal(directory.journal_path(attempt.name))
    journal.event(
        "start",
        attempt=attempt.name,
        job=attempt.job,
        index=attempt.index,
        restart=attempt.restart,
        submission=submission.name,
        element=element,
        node=attempt.node,
        pid=os.getpid(),
    )
    reason, detail = _how_it_ended(lambda: _element(run, submission, attempt, element, journal, stop, num_tasks, look))
    if reason == CAUSE:
        # What makes the node unfit may be that nothing can be written any more.
        if within(_LAST_WORDS_S, lambda: journal.event("end", reason=reason, **detail)):
            journal.close()
        return reason
    journal.event("end", reason=reason, signal=stop.signal_name, **detail)
    journal.close()
    return reason


def _element(
    run: Run,
    submission: Submission,
    attempt: Attempt,
    element: int,
    journal: Journal,
    stop: StopFlag,
    num_tasks: int,
    look: Look,
) -> str:
    phase = find_phase(submission.stage, submission.phase)
    if num_tasks > 1 and phase.kind != "gang":
        raise UserError(
            f"Slurm started {num_tasks} tasks: a {phase.kind} phase runs one task an element; "
            f"set slurm.nodes and slurm.tasks_per_node to 1, and run: resume run={run.path}"
        )
    directory = run.phase(submission.stage, submission.phase)
    plan = load_plan(directory)
    if plan is None or plan.hash != submission.plan_hash:
        found = plan.hash if plan else "none"
        raise UserError(
            f"{directory.plan_path}: submission {submission.name} is of plan {submission.plan_hash}, found: {found}"
        )
    config = submission.config
    _check_config(run, submission, config, plan)
    shards = shares_of(submission, phase, plan, [element])[element]
    bench = Bench(
        run=run,
        phase=phase,
        plan=plan,
        config=config,
        attempt=attempt.name,
        journal=journal,
        inputs_hash=bound_inputs(run, phase, config),
        stop=stop,
        submission=submission.name,
        num_elements=submission.num_elements,
        check_node=lambda: _check_node(look, run, submission, attempt.node),
    )
    return "failed" if work(bench, shards, config.retries.errors) else "completed"


def _check_node(look: Look, run: Run, submission: Submission, node: str) -> None:
    """Raise NodeUnfit when something is wrong with this node, unless nobody wants to know."""
    config = submission.config
    if not config.retries.check_nodes:
        return
    num_gpus = find_phase(submission.stage, submission.phase).gpus(config)
    if faults := look(run.phase(submission.stage, submission.phase).path, num_gpus):
        raise NodeUnfit(node, faults)


def _unfit_in_words(unfit: NodeUnfit) -> dict[str, Any]:
    """Tell the log, and return what the journal keeps."""
    print(f"{unfit}; its work is left to other nodes", file=sys.stderr)
    faults = [{"part": fault.part, "message": fault.message} for fault in unfit.faults]
    return {"type": "NodeUnfit", "message": str(unfit), "node": unfit.node, "faults": faults}


def _check_config(run: Run, submission: Submission, config: RunConfig, plan: Plan) -> None:
    """Raise UserError when the plan names a key of the configuration with another value: the bytes would not be its."""
    asked = {key: value for key, value, _ in flatten(config) if key in plan.identity}
    planned = {key: plan.identity[key] for key in asked}
    if found := differences(planned, json.loads(canonical_json(asked))):
        raise UserError(
            f"submission {submission.name} was recorded with another configuration than its plan's:\n{explain(found)}\n"
            f"Submit the open shards anew: resume run={run.path}"
        )


def _how_it_ended(element: Callable[[], str]) -> tuple[str, dict[str, Any]]:
    try:
        return element(), {}
    except Stopped as stopped:
        return {"notice": "notice", "terminate": "terminated"}.get(stopped.reason, stopped.reason), {}
    except NodeUnfit as unfit:
        return CAUSE, _unfit_in_words(unfit)
    except Exception as error:
        traceback.print_exc()
        return "error", describe(error)


def run_local(run_path: str, submission_name: str, element: int, restart: int, supervisor_pid: int) -> int:
    """Be a worker process of the local supervisor; return the exit code."""
    stop = StopFlag()
    stop.install(parent_pid=supervisor_pid)
    run = Run(Path(run_path))
    submission = load_submission(run, submission_name)
    attempt = Attempt(job=f"local{submission.number}", index=element, restart=restart, node=os.uname().nodename)
    reason = run_attempt(run, submission, attempt, element, stop)
    return {"completed": 0, "failed": 1, "error": 1, CAUSE: EXIT_UNFIT}.get(reason, 143)


def run_on_slurm(run_path: str, submission_name: str, element: int) -> None:
    """Be an array element; started by submitit, whose signal handlers ours replace.

    Exits 0 when the share is done. Advance notice makes the element requeue itself, under its own array id; after a
    bare SIGTERM Slurm has decided already, and the process waits to be killed, so that the job's state tells the truth.
    """
    from slurm.submission import clear_stale_result
    from synthclip_hpc.requeueing import after_notice, after_orphaned, after_unfit, may_start

    stop = StopFlag()
    stop.install()
    started = time.time()
    run = Run(Path(run_path))
    submission = load_submission(run, submission_name)
    num_tasks, rank = int(os.environ.get("SLURM_NTASKS") or 1), int(os.environ.get("SLURM_PROCID") or 0)
    is_gang = find_phase(submission.stage, submission.phase).kind == "gang"
    if num_tasks > 1 and rank > 0 and not is_gang:
        # All tasks of an element share one attempt's name: the first one refuses, and alone writes to its journal.
        sys.exit(1)
    attempt = from_environment(os.environ)
    if attempt is None:
        raise UserError("run_on_slurm was started outside a Slurm job")
    if rank > 0:
        _accompany(run, submission, attempt, stop)
        return
    clear_stale_result()
    may_start(run, submission, attempt)
    reason = run_attempt(run, submission, attempt, element, stop, num_tasks)
    if reason == "completed":
        return
    requeued = reason == "notice" and after_notice(run, submission, attempt, started)
    if reason in ("notice", "terminated") and not requeued:
        from slurm.signals import wait_to_be_killed

        wait_to_be_killed(limit_s=120)
    if reason == "orphaned":
        after_orphaned(run, submission, attempt)
    if reason == CAUSE:
        within(_LAST_WORDS_S, lambda: after_unfit(run, submission, attempt))
        sys.exit(EXIT_UNFIT)
    sys.exit(1 if reason in ("failed", "error") else 143)


def _accompany(run: Run, submission: Submission, attempt: Attempt, stop: StopFlag) -> None:
    """Be another node's worker of a gang. What becomes of the job is the first node's to decide, so this one waits."""
    from slurm.signals import wait_to_be_killed
    from synthclip_hpc.requeueing import after_orphaned, after_unfit
    from synthclip_hpc.stages.train.fit import accompany_on_slurm

    try:
        _check_node(look_at_node, run, submission, attempt.node)
    except NodeUnfit as unfit:
        told = _unfit_in_words(unfit)

        def leave() -> None:
            # One unfit node is enough for the whole gang to be of no use where it is.
            Journal(run.phase(submission.stage, submission.phase).journal_path(attempt.name)).event(CAUSE, **told)
            after_unfit(run, submission, attempt)

        within(_LAST_WORDS_S, leave)
        sys.exit(EXIT_UNFIT)
    try:
        accompany_on_slurm(run, submission, attempt, stop)
    except Stopped as stopped:
        if stopped.reason == "orphaned":
            # Nobody else has noticed: the first node's worker would wait for this one, and srun for its step.
            after_orphaned(run, submission, attempt)
            sys.exit(143)
        wait_to_be_killed(limit_s=120)


def main(argv: list[str] | None = None) -> int:
    """Entry point of the local supervisor's children."""
    parser = argparse.ArgumentParser(prog="python -m synthclip_hpc.worker")
    parser.add_argument("run")
    parser.add_argument("submission")
    parser.add_argument("element", type=int)
    parser.add_argument("restart", type=int)
    parser.add_argument("supervisor_pid", type=int)
    given = parser.parse_args(argv)
    return run_local(given.run, given.submission, given.element, given.restart, given.supervisor_pid)


if __name__ == "__main__":
    sys.exit(main())
