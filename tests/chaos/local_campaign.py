"""A run of local processes, with workers and supervisor killed until it is finished all the same."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.campaign import CampaignFailed, check_once
from tests.chaos.faults import Injection
from tests.chaos.late_kills import LateKills
from tests.chaos.product import Product, ProductFailed, prepare, wait_until_sealed
from tests.chaos.scenario import Scenario
from tests.chaos.watch import Watch
from tests.chaos.workers import Worker, at_work, local_workers, run_processes, supervisors


def run_calm(scenario: Scenario, run: Path, bank: Path, run_seed: int = 0) -> Product:
    """Make the undisturbed run that the others are compared with. Raises CampaignFailed."""
    product = Product(run, ("cluster=local",))
    prepare(product, scenario, bank, run_seed)
    product.submit(*scenario.identity(bank, run_seed), "workers=2", *scenario.local_keys)
    if not wait_until_sealed(product, *scenario.last, scenario.timeout_s):
        raise CampaignFailed(f"the calm run did not finish\n{product.log_tails()}")
    _wait_for_end(run)
    return product


def run_locally(
    scenario: Scenario,
    run: Path,
    bank: Path,
    rng: random.Random,
    say: Callable[[str], None],
    *,
    run_seed: int = 0,
    workers: int = 4,
    planned_s: float = 30.0,
    worker_kills: int = 3,
    supervisor_kills: int = 2,
) -> tuple[Product, list[Injection], Watch]:
    """SIGKILL workers and supervisors at random moments, `resume` after each supervisor. Raises CampaignFailed."""
    product = Product(run, ("cluster=local",))
    slowed = scenario.parts[0]
    speed = scenario.speed(slowed.num_shards * slowed.shard_items / workers / planned_s)
    done: list[Injection] = []
    deadline = time.monotonic() + scenario.timeout_s
    watch = Watch(product, scenario, lambda stage: _supervised(product, stage), every_s=2.0)
    prepare(product, scenario, bank, run_seed)
    try:
        product.submit(*scenario.identity(bank, run_seed), f"workers={workers}", *scenario.local_keys, *speed)
        with watch:
            faults = ["worker"] * worker_kills + ["supervisor"] * supervisor_kills
            for fault in rng.sample(faults, len(faults)):
                time.sleep(rng.uniform(*scenario.local_pause_s))
                begun = _wait_for_workers(run, scenario.begun)
                done.append(_kill_worker(rng.choice(begun)) if fault == "worker" else _kill_supervisor(run))
                say(f"local {done[-1].fault}: {', '.join(done[-1].attempts)} {done[-1].note}")
                if fault == "supervisor":
                    count = len(product.submissions())
                    product.resume_twice_at_once()
                    check_once(product.submissions()[count:])
            late = LateKills(product, scenario.late_kills, lambda: local_workers(run), rng, scenario.late_s)
            while not product.is_sealed(*scenario.last):
                if time.monotonic() > deadline:
                    raise CampaignFailed(f"not sealed in time\n{product.log_tails()}")
                if not supervisors(run):
                    product.resume()
                for victim, phase in late.strike_for(0.3):
                    done.append(Injection(LateKills.FAULT, time.time(), [victim.attempt], phase))
                    say(f"local {LateKills.FAULT}: {victim.attempt} {phase}")
            if late.missed:
                raise CampaignFailed(f"over before a worker was killed: {', '.join(late.missed)}")
            _wait_for_end(run)
        watch.look()
    except ProductFailed as error:
        raise CampaignFailed(f"{error}\n{product.log_tails()}") from error
    return product, done, watch


def _supervised(product: Product, stage: str) -> int:
    # Workers whose supervisor is gone only finish their batch: the run is not at work any more.
    alive = {process.pid for process in supervisors(product.run)}
    known = product.phases_by_job()
    return sum(
        1
        for worker in local_workers(product.run)
        if worker.parent_pid in alive and known.get(worker.job, ("",))[0] == stage
    )


def _wait_for_workers(run: Path, event: str) -> list[Worker]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        begun = at_work(run, event)
        if found := [worker for worker in local_workers(run) if worker.attempt in begun]:
            return found
        time.sleep(0.2)
    raise CampaignFailed("no local worker is at work")


def _kill_worker(victim: Worker) -> Injection:
    victim.process.send(signal.SIGKILL)
    return Injection("local-sigkill-worker", time.time(), [victim.attempt])


def _kill_supervisor(run: Path) -> Injection:
    found = supervisors(run)
    if not found:
        raise CampaignFailed("no local supervisor to kill")
    hit = [worker.attempt for worker in local_workers(run)]
    for process in found:
        process.send(signal.SIGKILL)
    return Injection("local-sigkill-supervisor", time.time(), hit)


def _wait_for_end(run: Path, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while run_processes(run) and time.monotonic() < deadline:
        time.sleep(0.2)
