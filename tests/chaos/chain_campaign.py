"""All stages in one submission on the one-machine Slurm: every stage is struck while it is at work."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from slurm.onemachine import Lab
from tests.chaos.campaign import CALM_KEYS, Campaign, CampaignFailed, Stage, end_and_resume, played, revive, told
from tests.chaos.chain_scenario import ChainScenario, Strike
from tests.chaos.faults import try_inject
from tests.chaos.late_kills import LateKills

CANCEL = "cancel"
"""No fault of the machine: the product's own command, and two `resume` at once after it."""


def run_chain_on_slurm(
    lab: Lab,
    scenario: ChainScenario,
    run: Path,
    bank: Path,
    rng: random.Random,
    say: Callable[[str], None],
    run_seed: int,
) -> Campaign:
    """Submit all stages at once and strike each in its turn. Raises CampaignFailed."""
    keys = ("slurm.partition=low", *CALM_KEYS[1:], *scenario.slurm_keys)
    deadline = time.monotonic() + scenario.timeout_s

    def begin(stage: Stage) -> None:
        say(stage.product.submit(*scenario.identity(bank, run_seed), *keys).splitlines()[0])

    def play(stage: Stage) -> None:
        for strike in scenario.strikes:
            for fault in rng.sample(strike.faults, strike.count):
                _strike(stage, scenario, strike, fault, keys, deadline)

    return played(lab, scenario, run, bank, rng, say, run_seed, begin, play)


def _strike(
    stage: Stage, scenario: ChainScenario, strike: Strike, fault: str, keys: Sequence[str], deadline: float
) -> None:
    """Wait until the phase is at work, a random time more, and do the fault to it."""
    place, phase = stage.place, (strike.stage, strike.phase)
    late = LateKills(stage.product, [phase], place.workers, place.rng, scenario.late_s)

    def jobs() -> set[str]:
        return {job for job, its_phase in stage.product.phases_by_job().items() if its_phase == phase}

    def is_at_work() -> bool:
        return any(worker.job in jobs() for worker in place.workers())

    def is_struck() -> bool:
        if fault == LateKills.FAULT:
            for victim, name in late.strike_for(1.0):
                place.note(fault, [victim], name)
            return not late.missed
        if fault == CANCEL:
            if is_at_work():
                end_and_resume(stage, fault, lambda: keys)
                return True
            return False
        return try_inject(place, fault, jobs)

    def came_true(condition: Callable[[], bool]) -> bool:
        while not condition():
            if stage.product.is_sealed(*phase):
                place.note(fault, [], f"NOT DONE: {strike.stage}/{strike.phase} was over too soon")
                return False
            if time.monotonic() > deadline:
                raise CampaignFailed(f"{fault}: {strike.stage}/{strike.phase} was never at work\n{told(stage)}")
            revive(stage, keys)
            time.sleep(0.2)
        return True

    if came_true(is_at_work):
        time.sleep(place.rng.uniform(*strike.pause_s))
        came_true(is_struck)
