"""The judgement of one disturbed run: every promise looked at, every breach a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import comparison
from tests.chaos.campaign import Campaign
from tests.chaos.chain_scenario import ChainScenario
from tests.chaos.eval_scenario import EvalScenario, wrong_cells
from tests.chaos.faults import Injection
from tests.chaos.images import wrong_images
from tests.chaos.journals import Attempt, read_attempts
from tests.chaos.lost_work import LostWork, account
from tests.chaos.product import Product, ProductFailed
from tests.chaos.scenario import SHORT_LIMIT_MIN, Scenario
from tests.chaos.steps import account_steps, wrong_steps
from tests.chaos.train_scenario import TrainScenario
from tests.chaos.truth import Ending, counts, endings, life_of, unexplained, without_record
from tests.chaos.watch import CAUSES, Watch
from tests.chaos.workers import orphans

_KILLS = ("sigkill-worker", "sigkill-late", "sigkill-between-shards", "sigkill-slurmstepd", "node-dies")
"""Faults that end an attempt at the moment of the blow; Slurm notices later."""


@dataclass
class Verdict:
    """What one run came to."""

    name: str
    problems: list[str]
    """Breaches; empty when all promises were kept."""
    same: bool
    attempts: int
    work: LostWork
    endings: list[Ending]
    injections: list[Injection]
    status: dict[str, int] = field(default_factory=dict)
    """The causes as `status --json` counted them at the end."""
    samples: int = 0
    notes: list[str] = field(default_factory=list)
    """What is no breach of ours: gaps in Slurm's own records, for which `unknown` is the true word."""


def judge_slurm(name: str, campaign: Campaign, calm: Path, scenario: Scenario) -> Verdict:
    """Judge a run on Slurm."""
    product = campaign.product
    stages = {part.stage for part in scenario.parts}
    records = [one for one in product.submissions() if one["stage"] in stages]
    jobs = [str(job) for one in records for job in one["array_jobs"]]
    short = {str(j) for one in records if _is_short(one) for j in one["array_jobs"]}
    lives = campaign.cluster.lives(jobs)
    attempts = _attempts(product.run, scenario)
    told = endings(attempts, campaign.injections, lives, short)
    ends = {
        attempt.name: life.end
        for attempt in attempts
        if (life := life_of(attempt, lives.get(attempt.element, []))) is not None and life.end is not None
    }
    blows = [one for one in campaign.injections if one.fault in _KILLS]
    ends |= {name: blow.time for blow in blows for name in blow.attempts}
    verdict = _judge(name, product, campaign.injections, campaign.watch, calm, scenario, told, ends)
    verdict.problems += unexplained(told)
    verdict.problems += [f"node out of service: {line}" for line in campaign.drained]
    verdict.notes += without_record(told)
    return verdict


def judge_local(
    name: str, product: Product, injections: list[Injection], watch: Watch, calm: Path, scenario: Scenario
) -> Verdict:
    """Judge a local run: its workers are killed without a word, so the harness alone knows the causes."""
    attempts = _attempts(product.run, scenario)
    hit = {name: injection for injection in injections for name in injection.attempts}
    told = [
        Ending(
            attempt.name,
            "-",
            (hit[attempt.name].fault,) if attempt.name in hit else (),
            None if attempt.end == "completed" else "unknown",
        )
        for attempt in attempts
    ]
    ends = {attempt.name: hit[attempt.name].time for attempt in attempts if attempt.name in hit}
    verdict = _judge(name, product, injections, watch, calm, scenario, told, ends)
    verdict.problems += unexplained(told)
    return verdict


def _judge(
    name: str,
    product: Product,
    injections: list[Injection],
    watch: Watch,
    calm: Path,
    scenario: Scenario,
    told: list[Ending],
    ends: dict[str, float],
) -> Verdict:
    run = product.run
    attempts = _attempts(run, scenario)
    different = comparison.differences(calm, run, scenario)
    if isinstance(scenario, TrainScenario):
        work = account_steps(run, scenario, injections)
        items = wrong_steps(run, calm, scenario)
    else:
        work = LostWork()
        for part in scenario.parts:
            work.add(account(read_attempts(run, part.stage), part, ends, watch.appends.last))
        if isinstance(scenario, EvalScenario | ChainScenario):
            items = wrong_cells(run)
        else:
            items = (wrong_images if scenario.redrawn else comparison.lost_or_doubled)(run, scenario)
    problems = [*different, *items, *work.problems]
    problems += _promise(product.verify, "verify")
    problems += comparison.leftovers(run, scenario) + comparison.over_budget(run, scenario)
    problems += [f"orphan: pid {status.process.pid} {status.command}" for status in orphans(run)]
    problems += [f"{attempt.name}: {error}" for attempt in attempts for error in attempt.errors]
    problems += [f"status: {text}" for text in watch.problems()]
    final = watch.latest()
    status = {cause: sum(int(stage[cause]) for stage in final) for cause in CAUSES}
    expected = counts(told)
    problems += [
        f"status says {status[cause]} {cause}, seen to happen: {expected[cause]}"
        for cause in CAUSES
        if status[cause] != expected[cause]
    ]
    if (told_of := sum(stage["attempts"] for stage in final)) != len(attempts):
        problems.append(f"status says {told_of} attempts, journals: {len(attempts)}")
    problems += [
        f"status says {stage['name']} is {stage['state']} at the end" for stage in final if stage["state"] != "done"
    ]
    again = _promise(product.resume, "resume of a finished run")
    return Verdict(
        name, problems + again, not different, len(attempts), work, told, injections, status, watch.num_answers
    )


def _attempts(run: Path, scenario: Scenario) -> list[Attempt]:
    return [attempt for part in scenario.parts for attempt in read_attempts(run, part.stage)]


def _promise(command: Callable[[], str], what: str) -> list[str]:
    try:
        command()
    except ProductFailed as error:
        return [f"{what}: {error}"]
    return []


def _is_short(record: dict[str, object]) -> bool:
    config = record["config"]
    assert isinstance(config, dict)
    return bool(config.get("slurm", {}).get("time_min") == SHORT_LIMIT_MIN)
