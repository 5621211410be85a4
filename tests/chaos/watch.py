"""`status --json` every few seconds while the run works: each answer is held against what is seen from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.chaos.appends import Appends
from tests.chaos.product import Product
from tests.chaos.scenario import Part, Scenario

STATES = {"waiting", "pending", "running", "done", "partial", "failed", "blocked"}
CAUSES = ("preemptions", "timeouts", "node_failures", "requeues", "cancellations", "failures", "unknown")


@dataclass
class Sample:
    """What one answer says of one stage, and the view from outside before and after it."""

    time: float
    part: Part
    stage: dict[str, Any]
    workers_before: int
    workers_after: int
    sealed_before: bool
    sealed_after: bool
    is_planned: bool
    """Whether all its phases had their plans before it: in a chain those of later stages are made on the way."""
    ending: bool = False
    """Taken just after a cancel, while what was cancelled still ends."""


@dataclass
class Watch:
    """Polls in a thread between `start` and `stop`."""

    product: Product
    scenario: Scenario
    count_workers: Callable[[str], int]
    """How many workers are at work for a stage."""
    every_s: float = 4.0
    samples: list[Sample] = field(default_factory=list)
    num_answers: int = 0
    errors: list[str] = field(default_factory=list)
    quiet_until: float = 0.0
    """Until then (after a cancel) workers that end within Slurm's KillWait do not make the run `running`."""
    appends: Appends = field(init=False)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.appends = Appends(self.product.run)

    def __enter__(self) -> Watch:
        self.appends.__enter__()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.appends.__exit__()
        if self._thread is not None:
            self._thread.join(60)

    def look(self) -> None:
        """Take one sample of each stage."""
        before = [self._outside(part) for part in self.scenario.parts]
        planned = [self._is_planned(part) for part in self.scenario.parts]
        answer = self.product.status()
        stages = {one["name"]: one for one in answer["stages"]}
        ending = answer["time"] < self.quiet_until
        for part, (workers, sealed), is_planned in zip(self.scenario.parts, before, planned, strict=True):
            if part.stage in stages:
                workers_after, sealed_after = self._outside(part)
                sample = Sample(
                    time.time(),
                    part,
                    stages[part.stage],
                    workers,
                    workers_after,
                    sealed,
                    sealed_after,
                    is_planned,
                    ending,
                )
                self.samples.append(sample)
        self.num_answers += 1

    def latest(self) -> list[dict[str, Any]]:
        """What was told last of each stage."""
        return list({sample.part.stage: sample.stage for sample in self.samples}.values())

    def _outside(self, part: Part) -> tuple[int, bool]:
        workers = self.count_workers(part.stage)
        return workers, self.product.is_sealed(part.stage, part.phases[-1])

    def _is_planned(self, part: Part) -> bool:
        return all((self.product.run / part.stage / phase / "plan.json").exists() for phase in part.phases)

    def _poll(self) -> None:
        while not self._end.wait(self.every_s):
            try:
                self.look()
            except Exception as error:
                self.errors.append(f"status failed: {error}")

    def problems(self) -> list[str]:
        """What the answers got wrong, each with its time into the watch."""
        found = list(self.errors)
        if not self.samples:
            return [*found, "no status was taken"]
        first = self.samples[0].time
        for part in self.scenario.parts:
            samples = [sample for sample in self.samples if sample.part == part]
            wrong = [(sample, text) for sample in samples for text in _implausible(sample)]
            for before, now in pairwise(samples):
                wrong += [(now, text) for text in _went_back(before, now)]
            found += [f"{sample.time - first:.0f} s: {part.stage}: {text}" for sample, text in wrong]
        return found


def _implausible(sample: Sample) -> list[str]:
    stage, part, found = sample.stage, sample.part, []
    state = stage["state"]
    if state not in STATES:
        found.append(f"state {state!r}")
    one_phase = len(part.phases) == 1
    totals_differ = stage["shards_total"] != part.num_shards or (one_phase and stage["items_total"] != part.num_items)
    if sample.is_planned and totals_differ:
        found.append(f"totals {stage['shards_total']} shards, {stage['items_total']} items")
    if not 0 <= stage["shards_done"] <= stage["shards_total"]:
        found.append(f"shards_done {stage['shards_done']} of {stage['shards_total']}")
    if not 0 <= stage["items_done"] <= stage["items_total"]:
        found.append(f"items_done {stage['items_done']} of {stage['items_total']}")
    whole = stage["shards_done"] * part.shard_items
    if one_phase and stage["items_done"] + stage["items_rejected"] < whole:
        items = f"items_done {stage['items_done']}, items_rejected {stage['items_rejected']}"
        found.append(f"{items}, but {stage['shards_done']} whole shards")
    if state == "done" and not sample.sealed_after:
        found.append("done without a seal")
    if sample.sealed_before and state != "done":
        found.append(f"sealed, but {state}")
    at_work = sample.workers_before and sample.workers_after and not sample.sealed_after and not sample.ending
    if at_work and state != "running":
        found.append(f"{sample.workers_before} workers at work, but {state}")
    ended = sum(stage[cause] for cause in CAUSES)
    if ended + stage["running"] > stage["attempts"]:
        found.append(f"{ended} ended early + {stage['running']} running > {stage['attempts']} attempts")
    return found


def _went_back(before: Sample, now: Sample) -> list[str]:
    found = []
    # With several phases the items are those of the one at work.
    items = ("items_done",) if len(now.part.phases) == 1 else ()
    for key in ("shards_done", *items, "attempts"):
        if now.stage[key] < before.stage[key]:
            found.append(f"{key} went back from {before.stage[key]} to {now.stage[key]}")
    return found
