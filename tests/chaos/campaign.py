"""What every campaign on the one-machine Slurm has in common: its beginning, its end, and what is left to judge."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.onemachine import Lab, resume_nodes, start_slurmd
from tests.chaos.cluster import Cluster
from tests.chaos.faults import Field, Injection
from tests.chaos.late_kills import LateKills
from tests.chaos.product import Product, ProductFailed, prepare, tail, wait_until_sealed
from tests.chaos.scenario import Scenario
from tests.chaos.watch import Watch

CALM_KEYS = ("slurm.partition=main", "slurm.time_min=30", "slurm.signal_lead_s=30")
_ENDING_S = 15.0
"""Cancelled elements may live so long: KillWait, and the queue's own pace."""
_DRAINED = "state set to DRAIN"


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


@dataclass
class Stage:
    """Where a campaign plays."""

    product: Product
    place: Field
    watch: Watch


def played(
    lab: Lab,
    scenario: Scenario,
    run: Path,
    bank: Path,
    rng: random.Random,
    say: Callable[[str], None],
    run_seed: int,
    begin: Callable[[Stage], None],
    play: Callable[[Stage], None],
    late_kills: Sequence[tuple[str, str]] = (),
) -> Campaign:
    """Prepare the run, `begin` and `play` it, let it finish, and leave the cluster whole. Raises CampaignFailed.

    `late_kills`: phases of which a worker is killed while the run finishes.
    """
    product = Product(run, ("cluster=slurm", "slurm.profile=onemachine"), lab.environment())
    place = Field(Cluster(lab), run, rng, say, scenario.begun)
    began = time.monotonic()
    log = lab.directory / "log" / "slurmctld.log"
    log_start = log.stat().st_size
    stage = Stage(product, place, Watch(product, scenario, lambda name: _at_work(place, product, name)))
    prepare(product, scenario, bank, run_seed)
    try:
        begin(stage)
        with stage.watch:
            play(stage)
            _finish(stage, scenario, late_kills, began + scenario.timeout_s)
        stage.watch.look()
    except ProductFailed as error:
        raise CampaignFailed(f"{error}\n{told(stage)}") from error
    finally:
        for node in lab.node_names:
            start_slurmd(lab, node)
        resume_nodes(lab)
    missed = [injection for injection in place.done if injection.note.startswith("NOT DONE")]
    if missed:
        raise CampaignFailed(f"faults without a victim: {missed}\n{told(stage)}")
    drained = [line for line in log.read_bytes()[log_start:].decode(errors="replace").splitlines() if _DRAINED in line]
    return Campaign(product, place.done, stage.watch, place.cluster, time.monotonic() - began, drained)


def run_calm_on_slurm(lab: Lab, scenario: Scenario, run: Path, bank: Path, run_seed: int = 0) -> Product:
    """Make an undisturbed run on Slurm, of the shape of the disturbed ones. Raises CampaignFailed."""
    product = Product(run, ("cluster=slurm", "slurm.profile=onemachine"), lab.environment())
    prepare(product, scenario, bank, run_seed)
    product.submit(*scenario.identity(bank, run_seed), *CALM_KEYS, *scenario.slurm_keys)
    cluster = Cluster(lab)
    if not wait_until_sealed(product, *scenario.last, scenario.timeout_s) or not cluster.settle(run):
        raise CampaignFailed(f"the calm run on Slurm did not finish\n{product.log_tails()}")
    return product


def revive(stage: Stage, keys: Sequence[str]) -> None:
    """Resume when a fault has ended the phase at work, and with it all that waited for it."""
    if not stage.place.cluster.queue(stage.place.run):
        stage.place.say(f"resume: {stage.product.resume(*keys).splitlines()[0]}")


def end_and_resume(stage: Stage, kind: str, keys: Callable[[], Sequence[str]]) -> None:
    """End all jobs, by Slurm's `scancel` or the product's own `cancel`; then start two `resume` at once."""
    place, product = stage.place, stage.product
    hit = place.workers()
    stage.watch.quiet_until = time.time() + _ENDING_S
    if kind == "scancel":
        place.cluster.cancel(place.run)
    else:
        product.cancel()
    place.note(kind, hit)
    if not place.cluster.settle(place.run):
        raise CampaignFailed(f"jobs outlive {kind}: {place.cluster.queue(place.run)}")
    count = len(product.submissions())
    product.resume_twice_at_once(*keys())
    new = product.submissions()[count:]
    place.note("resume-twice", [], f"{len(new)} submission")
    check_once(new)


def check_once(new: Sequence[dict[str, Any]]) -> None:
    """Raise CampaignFailed unless two `resume` at once submitted each phase once at most, and one at least."""
    phases = [(one["stage"], one["phase"]) for one in new]
    if not phases or len(set(phases)) != len(phases):
        raise CampaignFailed(
            f"two resume at once made {len(new)} submissions: {[one['name'] for one in new]} of {phases}"
        )


def told(stage: Stage) -> str:
    """What the queue, the newest logs and the controller say, for the report of a failure."""
    log = stage.place.cluster.lab.directory / "log" / "slurmctld.log"
    queue = stage.place.cluster.queue(stage.place.run)
    return f"queue: {queue}\n{stage.product.log_tails()}\n--- slurmctld.log\n{tail(log, 40)}"


def _at_work(place: Field, product: Product, stage: str) -> int:
    """Count the workers of the stage's phases that are not sealed: a lost node's old attempt may outlive its phase."""
    known = product.phases_by_job()
    phases = [known[worker.job] for worker in place.workers() if worker.job in known]
    return sum(1 for one in phases if one[0] == stage and not product.is_sealed(*one))


def _finish(stage: Stage, scenario: Scenario, late_kills: Sequence[tuple[str, str]], deadline: float) -> None:
    """Resume until the last phase is sealed and nothing of the run is alive; kill what is to be killed late."""
    place, product = stage.place, stage.product
    late = LateKills(product, late_kills, place.workers, place.rng, scenario.late_s)
    while True:
        if time.monotonic() > deadline:
            raise CampaignFailed(f"not sealed in time\n{told(stage)}")
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
