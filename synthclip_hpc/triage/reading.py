"""What failed in a run: its journals read, its failures grouped, and the shards and logs that belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sharding.journal import read_events
from sharding.plan import load_plan
from slurm.accounting import ended_by
from synthclip_hpc.log_files import chain_of, log_of
from synthclip_hpc.monitor.failures import FailureGroup
from synthclip_hpc.monitor.lives import Life, PhaseLives
from synthclip_hpc.pipeline import find_phase, phases_of
from synthclip_hpc.run import Run
from synthclip_hpc.shares import shares_of
from synthclip_hpc.stage_order import STAGES
from synthclip_hpc.stages.phase import Phase
from synthclip_hpc.submissions import Submission
from synthclip_hpc.triage.endings import ask_accounting


def read_lives(run: Run, submissions: Sequence[Submission]) -> dict[str, PhaseLives]:
    """Read all journals of a run; by `stage/phase`, phases without a journal left out.

    Slurm's accounting is asked what ended the attempts that no journal explains: one that ran out of memory, say, has
    said nothing. Without its answer such failures are missing, and nothing else.
    """
    phases = (phase for stage in STAGES for phase in phases_of(stage))
    read = {phase.key: read_phase(run, phase, submissions) for phase in phases}
    found = {key: lives for key, lives in read.items() if lives.lives}
    for key, lives in found.items():
        mine = [one for one in submissions if f"{one.stage}/{one.phase}" == key]
        rows, _ = ask_accounting(lives.lives.values(), mine)
        for life in lives.lives.values():
            if id(life) in rows and ended_by(rows[id(life)].state) == "failure":
                life.slurm_state, life.ended = rows[id(life)].state, rows[id(life)].end
    return found


def read_phase(run: Run, phase: Phase, submissions: Sequence[Submission], *, tracebacks: bool = False) -> PhaseLives:
    """Read the journals of one phase."""
    directory = run.phase(phase.stage, phase.name)
    lives = PhaseLives(phase.key, tracebacks=tracebacks)
    for attempt in directory.attempts():
        lives.take(attempt, read_events(directory.journal_path(attempt))[0])
    _place(lives, submissions)
    return lives


def _place(lives: PhaseLives, submissions: Sequence[Submission]) -> None:
    """Find the submission and the element of lives that could not say it themselves, by the ids of their jobs."""
    by_job = {}
    for one in submissions:
        arrays = one.record.get("array_jobs", [])
        if len(arrays) == 1:  # of several, each counts its elements from 0
            by_job[str(arrays[0])] = one
        elif one.cluster == "local":
            by_job[f"local{one.number}"] = one
    for life in lives.lives.values():
        story = life.story
        if story.job in by_job and isinstance(story.index, int):
            story.submission = story.submission or by_job[story.job].name
            life.element = story.index if life.element is None else life.element


def given_shards(run: Run, submission: Submission, elements: Iterable[int]) -> dict[int, list[int]]:
    """Return the shards that each element was given; none where the plan is gone or there is no such element."""
    plan = load_plan(run.phase(submission.stage, submission.phase))
    there = [one for one in elements if 0 <= one < submission.num_elements]
    if plan is None or plan.hash != submission.plan_hash or not there:
        return {}
    return shares_of(submission, find_phase(submission.stage, submission.phase), plan, there)


def shards_of(run: Run, group: FailureGroup, submissions: Sequence[Submission]) -> set[int]:
    """Return the shards of a group: those that failed, and where attempts failed as a whole those they were given."""
    if group.shards:
        return set(group.shards)
    found: set[int] = set()
    for one in submissions:
        mine = [element for name, element in group.elements if name == one.name]
        for shards in given_shards(run, one, mine).values():
            found.update(shards)
    return found


def failed_shards(run: Run, lives: PhaseLives, missing: set[int], submissions: Sequence[Submission]) -> set[int]:
    """Return those of the missing shards whose last attempt ended with an error of its own.

    The last attempt at a shard is the last life of the element that was given it, in the newest submission where that
    element came to work. One that ended before it came to the shard counts when it failed as a whole.
    """
    last: dict[tuple[str, int | None], Life] = {}
    for life in lives.lives.values():
        key = (life.story.submission, life.element)
        if life.story.role == "work" and (key not in last or _began(last[key]) <= _began(life)):
            last[key] = life
    undecided, failed = set(missing), set()
    for one in sorted(submissions, key=lambda one: -one.number):
        if f"{one.stage}/{one.phase}" == lives.phase and undecided:
            at_work = [element for element in range(one.num_elements) if (one.name, element) in last]
            for element, share in given_shards(run, one, at_work).items():
                decided = undecided.intersection(share)
                failed |= {shard for shard in decided if last[one.name, element].failed_at(shard)}
                undecided -= decided
    return failed


def log_path(run: Run, life: Life, submissions: Sequence[Submission]) -> Path | None:
    """Return the log of an attempt, `submissions` being all of the run; None for an inline phase."""
    story = life.story
    submission = next((one for one in submissions if one.name == story.submission), None)
    if submission is None:
        return None
    if submission.cluster == "local" and story.role in ("supervisor", "seal"):
        submission = chain_of(submission, submissions)[0]
    return log_of(run, submission, role=story.role, job=story.job, index=story.index, element=life.element)


def _began(life: Life) -> tuple[float, int]:
    return life.story.started, life.story.restart
