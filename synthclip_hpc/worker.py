"""What one array element (or local worker process) executes: its share of a submission's shards, one after another.

Crash-only: every start is a recovery, and being killed is the normal end. Signals make the loss smaller, nothing more.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.deal import deal
from sharding.directory import PhaseDirectory
from sharding.drift import differences, explain
from sharding.files import canonical_json, is_gone
from sharding.inputs import bind_inputs
from sharding.journal import Journal
from sharding.marker import MarkerError, Promise, done_marker, is_done
from sharding.plan import Plan, load_plan
from sharding.publication import Inspect, adopt_output
from sharding.seal import load_seal
from slurm.attempt import Attempt, from_environment
from slurm.signals import StopFlag, Stopped
from synthclip_hpc import provenance
from synthclip_hpc.config import flatten
from synthclip_hpc.errors import UserError
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.run import Run
from synthclip_hpc.stages.phase import Phase, ShardTaken, ShardTask
from synthclip_hpc.submissions import Submission, load_submission

if TYPE_CHECKING:
    from synthclip_hpc.config import RunConfig

# After one of these the next shard would fail as well: the attempt ends, with the reason, and `resume` goes on later.
_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV}


@dataclass
class Bench:
    """An attempt's place at a phase: everything that stays the same from shard to shard."""

    run: Run
    phase: Phase
    plan: Plan
    config: RunConfig
    attempt: str
    journal: Journal
    inputs_hash: str
    stop: StopFlag | None = None
    started: float = field(default_factory=time.monotonic)
    submission: str | None = None
    """Its name; None when the command that submits does the work itself."""

    @property
    def directory(self) -> PhaseDirectory:
        return self.run.phase(self.phase.stage, self.phase.name)

    @property
    def inspect(self) -> Inspect:
        return partial(self.phase.inspect, self.run)

    @property
    def promise(self) -> Promise:
        return self.phase.promise(self.config)

    @property
    def provenance(self) -> dict[str, Any]:
        return {**provenance.of_process(), "submission": self.submission, "attempt": self.attempt}

    def task(self, shard: int) -> ShardTask:
        """Return the task of one shard."""
        return ShardTask(
            directory=self.directory,
            plan=self.plan,
            shard=self.plan.shard(shard),
            attempt=self.attempt,
            inputs_hash=self.inputs_hash,
            promise=self.promise,
            inspect=self.inspect,
            journal=self.journal,
            provenance=self.provenance,
            stop=self.stop,
            attempt_started=self.started,
        )


def bound_inputs(run: Run, phase: Phase) -> str:
    """Bind the phase to the seals it builds on; return that binding's hash. Raises UserError when one is missing."""
    inputs = {}
    for stage, name in phase.upstream:
        seal = load_seal(run.phase(stage, name))
        if seal is None:
            raise UserError(f"{phase.key} builds on {stage}/{name}, which is not sealed; run: resume run={run.path}")
        inputs[f"{stage}/{name}"] = seal.hash
    return bind_inputs(run.phase(phase.stage, phase.name), inputs)


def work(bench: Bench, shards: list[int], error_limit: int) -> list[int]:
    """Do the shards that are not done yet; return those that failed with an error of our own.

    Raises slurm.signals.Stopped at a safe point after a signal; OSError when no further shard could succeed.
    """
    failed: list[int] = []
    todo = [shard for shard in shards if not _finished(bench, shard)]
    if not todo:
        return failed
    started = time.monotonic()
    with bench.phase.open(bench.config, bench.run, bench.plan) as process:
        bench.journal.event("ready", seconds=round(time.monotonic() - started, 3))
        for shard in todo:
            if bench.stop is not None:
                bench.stop.check()
            try:
                if not _finished(bench, shard):
                    process(bench.task(shard))
            except ShardTaken:
                bench.journal.event("shard_taken", shard=shard)
            except Stopped:
                raise
            except Exception as error:
                if _is_superseded(bench, shard, error):
                    bench.journal.event("shard_taken", shard=shard)
                    continue
                bench.journal.event("shard_failed", shard=shard, **describe(error))
                traceback.print_exc()
                failed.append(shard)
                if is_hopeless(error):
                    raise
                if len(failed) > error_limit:
                    break
    return failed


def _finished(bench: Bench, shard: int) -> bool:
    """Tell whether a shard is done; an output that lacks its marker is verified and gets it."""
    try:
        done_marker(bench.directory, bench.plan, shard)
        return True
    except MarkerError:
        task = bench.task(shard)
    marker = adopt_output(
        bench.directory,
        bench.plan,
        shard,
        bench.inspect,
        inputs_hash=bench.inputs_hash,
        promise=bench.promise,
        provenance={**bench.provenance, "adopted": True, "finished": time.time()},
    )
    if marker is None:
        return False
    task.shard_done(marker.counts, marker.size_bytes, new=0)
    return True


def _is_superseded(bench: Bench, shard: int, error: Exception) -> bool:
    """Tell whether an attempt failed only because the shard's winner cleared its files away under it."""
    return isinstance(error, OSError) and is_gone(error) and is_done(bench.directory, bench.plan, shard)


def describe(error: BaseException) -> dict[str, Any]:
    """Return what a journal keeps of an error."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
    told = {"type": type(error).__name__, "message": str(error)[:2000], "where": where}
    if is_hopeless(error):
        # On a full disk a short line may still find room where a long one does not, and the reason is all there is.
        return told
    return told | {"traceback": "".join(traceback.format_exception(error))[-8000:]}


def is_hopeless(error: BaseException) -> bool:
    """Tell whether the next shard would fail for the same reason."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _HOPELESS)


def run_attempt(
    run: Run, submission: Submission, attempt: Attempt, element: int, stop: StopFlag, num_tasks: int = 1
) -> str:
    """Work through one element's share; return how it ended, as the journal's `end` event says it.

    `completed`, `failed` (shards with errors of our own), `error` (the attempt itself), `notice` (advance notice of a
    time limit or preemption), `terminated`, `orphaned`.
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
    reason, detail = _how_it_ended(lambda: _element(run, submission, attempt, element, journal, stop, num_tasks))
    journal.event("end", reason=reason, **detail)
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
    shards = deal(submission.shards(), submission.num_elements, element)
    bench = Bench(
        run=run,
        phase=phase,
        plan=plan,
        config=config,
        attempt=attempt.name,
        journal=journal,
        inputs_hash=bound_inputs(run, phase),
        stop=stop,
        submission=submission.name,
    )
    return "failed" if work(bench, shards, config.retries.errors) else "completed"


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
    return {"completed": 0, "failed": 1, "error": 1}.get(reason, 143)


def run_on_slurm(run_path: str, submission_name: str, element: int) -> None:
    """Be an array element; started by submitit, whose signal handlers ours replace.

    Exits 0 when the share is done. Advance notice makes the element requeue itself, under its own array id; after a
    bare SIGTERM Slurm has decided already, and the process waits to be killed, so that the job's state tells the truth.
    """
    from slurm.submission import clear_stale_result
    from synthclip_hpc.requeueing import after_notice, after_orphaned, may_start

    stop = StopFlag()
    stop.install()
    started = time.time()
    run = Run(Path(run_path))
    submission = load_submission(run, submission_name)
    num_tasks, rank = int(os.environ.get("SLURM_NTASKS") or 1), int(os.environ.get("SLURM_PROCID") or 0)
    if num_tasks > 1 and rank > 0 and find_phase(submission.stage, submission.phase).kind != "gang":
        # All tasks of an element share one attempt's name: the first one refuses, and alone writes to its journal.
        sys.exit(1)
    clear_stale_result()
    attempt = from_environment(os.environ)
    if attempt is None:
        raise UserError("run_on_slurm was started outside a Slurm job")
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
    sys.exit(1 if reason in ("failed", "error") else 143)


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
