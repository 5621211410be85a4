"""The end of a phase: all there? Then the seal, which releases what follows; else what is missing, and why."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from sharding.canonical import fingerprint
from sharding.files import remove
from sharding.inputs import load_inputs
from sharding.journal import Journal, read_events
from sharding.plan import Plan, load_plan
from sharding.seal import PhaseIncomplete, Seal, collect_seal, store_seal
from synthclip_hpc.errors import GO_ON, UserError
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, load_submission
from synthclip_hpc.summaries import summary_of

_SEAL_IN_MAKING = ".seal.json."


def seal_phase(run: Run, stage: str, name: str) -> Seal:
    """Seal a phase and remove what only served its making.

    Raises PhaseIncomplete with the missing shards, each with the last error that a journal tells.
    """
    phase, directory = find_phase(stage, name), run.phase(stage, name)
    plan = load_plan(directory)
    if plan is None:
        raise UserError(
            f"{stage}/{name} has no plan; submit it first: python -m synthclip_hpc.submit stage={stage} run={run.path}"
        )
    inputs = load_inputs(directory)
    try:
        seal = collect_seal(directory, plan, fingerprint(inputs) if inputs is not None else "")
    except PhaseIncomplete as incomplete:
        raise _with_errors(run, stage, name, plan, incomplete) from None
    if phase.check_sealed is not None:
        phase.check_sealed(directory, plan)
    # All elements have ended: what is left of partial files belongs to attempts that were killed. Before the seal, as
    # commands that want a sealed phase write files of their own behind it. Another's seal in the making stays: the seal
    # itself tells it that it came second.
    shutil.rmtree(directory.path / "partial", ignore_errors=True)
    for unfinished in directory.path.rglob(".*.tmp"):  # of those that were killed while they wrote a small file
        if not unfinished.name.startswith(_SEAL_IN_MAKING):
            remove(unfinished)
    store_seal(directory, seal)
    for unfinished in directory.path.glob(f"{_SEAL_IN_MAKING}*.tmp"):
        remove(unfinished)
    return seal


def _with_errors(run: Run, stage: str, name: str, plan: Plan, incomplete: PhaseIncomplete) -> PhaseIncomplete:
    errors = last_errors(run, stage, name)
    return PhaseIncomplete(plan, {shard: errors.get(shard, reason) for shard, reason in incomplete.reasons.items()})


def last_errors(run: Run, stage: str, name: str) -> dict[int, str]:
    """Return the last error of each shard that failed, from the phase's journals."""
    directory = run.phase(stage, name)
    found: dict[int, tuple[float, str]] = {}
    for attempt in directory.attempts():
        for event in read_events(directory.journal_path(attempt))[0]:
            if event["event"] == "shard_failed":
                text = f"{event['type']}: {event['message']} (attempt {attempt})"
                found[event["shard"]] = max(found.get(event["shard"], (0.0, "")), (event["time"], text))
    return {shard: text for shard, (_, text) in found.items()}


def seal_submission(run: Run, submission: Submission, attempt: str, **facts: Any) -> bool:
    """Seal a submission's phase as one attempt with a journal; False when shards are missing (printed)."""
    journal = Journal(run.phase(submission.stage, submission.phase).journal_path(attempt))
    journal.event("start", attempt=attempt, role="seal", submission=submission.name, pid=os.getpid(), **facts)
    started = time.monotonic()
    try:
        seal = seal_phase(run, submission.stage, submission.phase)
    except (PhaseIncomplete, ValueError, OSError) as error:
        missing = error.missing if isinstance(error, PhaseIncomplete) else []
        journal.event(
            "end", reason="incomplete", missing=missing[:1000], num_missing=len(missing), message=str(error)[:2000]
        )
        resume = "" if GO_ON in str(error) else f"\n{GO_ON} python -m synthclip_hpc.resume run={run.path}"
        print(f"{error}{resume}", file=sys.stderr)
        return False
    journal.event("end", reason="completed", seal=seal.hash, seconds=round(time.monotonic() - started, 3))
    items = f"{seal.counts.done} items done, {seal.counts.rejected} rejected"
    print(f"{submission.stage}/{submission.phase}: {len(seal.shards)} shards sealed, {items}")
    for line in summary_of(run, find_phase(submission.stage, submission.phase)):
        print(line)
    return True


def run_on_slurm(run_path: str, submission_name: str) -> None:
    """Be the seal job; exits 1 when shards are missing, which keeps what follows from starting."""
    from slurm.attempt import from_environment
    from slurm.signals import StopFlag
    from slurm.submission import clear_stale_result

    if int(os.environ.get("SLURM_PROCID") or 0) > 0:
        return  # one task seals; a profile that starts more is no reason to hold up what follows
    # In place of submitit's handlers, which would requeue. Nobody looks at the flag: sealing takes a minute and starts
    # from the beginning anyway, so going on until the kill is the best use of a notice.
    StopFlag().install()
    clear_stale_result()
    run = Run(Path(run_path))
    submission = load_submission(run, submission_name)
    attempt = from_environment(os.environ)
    if attempt is None:
        raise UserError("run_on_slurm was started outside a Slurm job")
    facts = {"job": attempt.job, "index": attempt.index, "restart": attempt.restart, "node": attempt.node}
    if not seal_submission(run, submission, attempt.name, **facts):
        sys.exit(1)
