"""A run on the one-machine Slurm, disturbed again and again until every fault has happened, then left to finish."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slurm.onemachine import Lab, resume_nodes, start_slurmd
from tests.chaos.cluster import Cluster
from tests.chaos.faults import Field, Injection, inject
from tests.chaos.late_kills import LateKills
from tests.chaos.product import Product, ProductFailed, prepare, tail, wait_until_sealed
from tests.chaos.scenario import Act, Scenario
from tests.chaos.watch import Watch

_ENDING_S = 15.0
"""Cancelled elements may live so long: KillWait, and the queue's own pace."""
_DRAINED = "state set to DRAIN"
CALM_KEYS = ("slurm.partition=main", "slurm.time_min=30", "slurm.signal_lead_s=30")


class CampaignFailed(AssertionError):
    """The run did not finish, or a fault could not be done."""


@dataclass
class Campaign:
    """What a campaign leaves to be judged."""

    product: Product
    injections: list[Injection]
    watch: Watch
    cluster: Cluster
    seconds: float
    drained: list[str]
    """What Slurm said of nodes that it took out of service: processes outlived their job."""


def run_on_slurm(
    lab: Lab,
    scenario: Scenario,
    run: Path,
    bank: Path,
    rng: random.Random,
    say: Callable[[str], None],
    *,
    run_seed: int = 0,
    acts: Sequence[Act] | None = None,
) -> Campaign:
    """Play the acts in random order, with the breaks between them in random order. Raises CampaignFailed."""
    product = Product(run, ("cluster=slurm", "slurm.profile=onemachine"), lab.environment())
    place = Field(Cluster(lab), run, rng, say, scenario.begun)
    acts = scenario.acts if acts is None else acts
    order = rng.sample(list(acts), len(acts))
    between = rng.sample(list(scenario.breaks), len(scenario.breaks))
    began = time.monotonic()
    log = lab.directory / "log" / "slurmctld.log"
    log_start = log.stat().st_size
    watch = Watch(product, scenario, lambda stage: _at_work(place, product, stage))
    prepare(product, scenario, bank, run_seed)
    try:
        _start_act(product.submit, scenario, run, order, 0, say, scenario.identity(bank, run_seed))
        with watch:
            for number, act in enumerate(order):
                keys = act_keys(scenario, run, order, number)
                _play(place, product, act, partial(_revive, place, product, keys))
                if number + 1 < len(order):
                    _break(place, product, watch, between[number % len(between)], scenario, order, number + 1)
            _finish(place, product, scenario, began + scenario.timeout_s)
        watch.look()
    except ProductFailed as error:
        raise CampaignFailed(f"{error}\n{_told(place, product)}") from error
    finally:
        for node in lab.node_names:
            start_slurmd(lab, node)
        resume_nodes(lab)
    missed = [injection for injection in place.done if injection.note.startswith("NOT DONE")]
    if missed:
        raise CampaignFailed(f"faults without a victim: {missed}\n{_told(place, product)}")
    drained = [line for line in log.read_bytes()[log_start:].decode(errors="replace").splitlines() if _DRAINED in line]
    return Campaign(product, place.done, watch, place.cluster, time.monotonic() - began, drained)


def run_calm_on_slurm(lab: Lab, scenario: Scenario, run: Path, bank: Path, run_seed: int = 0) -> Product:
    """Make an undisturbed run on Slurm, of the shape of the disturbed ones. Raises CampaignFailed."""
    product = Product(run, ("cluster=slurm", "slurm.profile=onemachine"), lab.environment())
    prepare(product, scenario, bank, run_seed)
    product.submit(*scenario.identity(bank, run_seed), *CALM_KEYS, *scenario.slurm_keys)
    cluster = Cluster(lab)
    if not wait_until_sealed(product, *scenario.last, scenario.timeout_s) or not cluster.settle(run):
        raise CampaignFailed(f"the calm run on Slurm did not finish\n{product.log_tails()}")
    return product


def _at_work(place: Field, product: Product, stage: str) -> int:
    """Count the workers of the stage's phases that are not sealed: a lost node's old attempt may outlive its phase."""
    known = product.phases_by_job()
    phases = [known[worker.job] for worker in place.workers() if worker.job in known]
    return sum(1 for one in phases if one[0] == stage and not product.is_sealed(*one))


def _start_act(
    start: Callable[..., str],
    scenario: Scenario,
    run: Path,
    order: Sequence[Act],
    number: int,
    say: Callable[[str], None],
    identity: Sequence[str] = (),
) -> None:
    keys = act_keys(scenario, run, order, number)
    answer = start(*identity, *keys)
    say(f"act {number + 1}: {' '.join(keys)}: {answer.splitlines()[1] if answer.count(chr(10)) > 1 else answer}")


def act_keys(scenario: Scenario, run: Path, order: Sequence[Act], number: int) -> list[str]:
    """The execution keys of an act; its speed leaves as much work as the acts that follow need."""
    slowed = scenario.parts[0]
    done = len(list((run / slowed.stage).glob("*/markers/*/*.json"))) * slowed.shard_items
    seconds = sum(act.planned_s for act in order[number:])
    speed = min(50.0, max(1.0, (slowed.num_shards * slowed.shard_items - done) / scenario.elements / max(seconds, 1.0)))
    given = {key.split("=")[0] for key in order[number].keys}
    calm = [key for key in CALM_KEYS if key.split("=")[0] not in given]
    elements = f"slurm.elements={scenario.elements}"
    return [*order[number].keys, *calm, elements, *scenario.slurm_keys, *scenario.speed(speed)]


def _play(place: Field, product: Product, act: Act, revive: Callable[[], None]) -> None:
    first = len(product.submissions()) - 1
    while first and product.submissions()[first - 1]["state"] == "submitted" and _same_act(product, first):
        first -= 1  # all phases of a stage are submitted at once
    for fault in place.rng.sample(list(act.faults), len(act.faults)):
        time.sleep(place.rng.uniform(*act.pause_s))
        inject(
            place,
            fault,
            lambda: {str(job) for one in product.submissions()[first:] for job in one["array_jobs"]},
            revive,
        )


def _arrays(product: Product, first: int) -> set[str]:
    return {str(job) for one in product.submissions()[first:] for job in one.get("array_jobs", ())}


def _same_act(product: Product, number: int) -> bool:
    """Whether a submission was made by the same command as the one before it."""
    before, own = product.submissions()[number - 1 : number + 1]
    return bool(before["claimer"] == own["claimer"])


def _revive(place: Field, product: Product, keys: Sequence[str]) -> None:
    """Resume when a fault has ended the phase at work, and with it all that waited for it."""
    if not place.cluster.queue(place.run):
        place.say(f"resume: {product.resume(*keys).splitlines()[0]}")


def _break(
    place: Field, product: Product, watch: Watch, kind: str, scenario: Scenario, order: Sequence[Act], number: int
) -> None:
    time.sleep(place.rng.uniform(1, 4))
    if kind == "overlap":
        before = place.workers()
        _start_act(
            lambda *keys: product.resume("assume_ended=true", *keys), scenario, place.run, order, number, place.say
        )
        place.note("overlap", [], f"while {len(before)} workers were alive")
        return
    hit = place.workers()
    watch.quiet_until = time.time() + _ENDING_S
    if kind == "scancel":
        place.cluster.cancel(place.run)
    else:
        product.cancel()
    place.note(kind, hit)
    if not place.cluster.settle(place.run):
        raise CampaignFailed(f"jobs outlive {kind}: {place.cluster.queue(place.run)}")
    count = len(product.submissions())
    keys = act_keys(scenario, place.run, order, number)
    product.resume_twice_at_once(*keys)
    new = product.submissions()[count:]
    place.note("resume-twice", [], f"{len(new)} submission")
    check_once(new)


def check_once(new: Sequence[dict[str, Any]]) -> None:
    """Raise CampaignFailed unless two `resume` at once submitted each phase once at most, and one at least."""
    phases = [one["phase"] for one in new]
    if not phases or len(set(phases)) != len(phases):
        raise CampaignFailed(
            f"two resume at once made {len(new)} submissions: {[one['name'] for one in new]} of {phases}"
        )


def _finish(place: Field, product: Product, scenario: Scenario, deadline: float) -> None:
    """Resume until the last phase is sealed and nothing of the run is alive; kill what is to be killed late."""
    late = LateKills(product, scenario.late_kills, place.workers, place.rng, scenario.late_s)
    while True:
        if time.monotonic() > deadline:
            raise CampaignFailed(f"not sealed in time\n{_told(place, product)}")
        sealed = product.is_sealed(*scenario.last)
        if not place.cluster.queue(place.run):
            if sealed:
                break
            place.say(
                f"resume: {product.resume(*CALM_KEYS, *scenario.slurm_keys, *scenario.speed(50)).splitlines()[1]}"
            )
        for victim, phase in late.strike_for(1.0):
            place.note(LateKills.FAULT, [victim], phase)
    for phase in late.missed:
        place.note(LateKills.FAULT, [], f"NOT DONE: {phase} was over too soon")


def _told(place: Field, product: Product) -> str:
    log = place.cluster.lab.directory / "log" / "slurmctld.log"
    queue = place.cluster.queue(place.run)
    return f"queue: {queue}\n{product.log_tails()}\n--- slurmctld.log\n{tail(log, 40)}"
