"""A run on the one-machine Slurm, disturbed again and again until every fault has happened, then left to finish."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from slurm.onemachine import Lab
from tests.chaos.campaign import CALM_KEYS, Campaign, Stage, end_and_resume, played, revive
from tests.chaos.faults import inject
from tests.chaos.product import Product
from tests.chaos.scenario import Act, Scenario


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
    acts = scenario.acts if acts is None else acts
    order = rng.sample(list(acts), len(acts))
    between = rng.sample(list(scenario.breaks), len(scenario.breaks))

    def begin(stage: Stage) -> None:
        _start_act(stage.product.submit, scenario, run, order, 0, say, scenario.identity(bank, run_seed))

    def play(stage: Stage) -> None:
        for number, act in enumerate(order):
            _play(stage, act, partial(revive, stage, act_keys(scenario, run, order, number)))
            if number + 1 < len(order):
                _break(stage, between[number % len(between)], scenario, order, number + 1)

    return played(lab, scenario, run, bank, rng, say, run_seed, begin, play, scenario.late_kills)


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


def _play(stage: Stage, act: Act, revive_run: Callable[[], None]) -> None:
    product, rng = stage.product, stage.place.rng
    first = len(product.submissions()) - 1
    while first and product.submissions()[first - 1]["state"] == "submitted" and _same_act(product, first):
        first -= 1  # all phases of a stage are submitted at once
    for fault in rng.sample(list(act.faults), len(act.faults)):
        time.sleep(rng.uniform(*act.pause_s))
        inject(
            stage.place,
            fault,
            lambda: {str(job) for one in product.submissions()[first:] for job in one["array_jobs"]},
            revive_run,
        )


def _same_act(product: Product, number: int) -> bool:
    """Whether a submission was made by the same command as the one before it."""
    before, own = product.submissions()[number - 1 : number + 1]
    return bool(before["claimer"] == own["claimer"])


def _break(stage: Stage, kind: str, scenario: Scenario, order: Sequence[Act], number: int) -> None:
    place = stage.place
    time.sleep(place.rng.uniform(1, 4))
    if kind == "overlap":
        before = place.workers()
        _start_act(
            lambda *keys: stage.product.resume("assume_ended=true", *keys),
            scenario,
            place.run,
            order,
            number,
            place.say,
        )
        place.note("overlap", [], f"while {len(before)} workers were alive")
        return
    end_and_resume(stage, kind, lambda: act_keys(scenario, place.run, order, number))
