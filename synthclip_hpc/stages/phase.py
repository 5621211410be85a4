"""What a stage module tells the rest of the application: its phases, and what a worker gets to do a shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.directory import PhaseDirectory
from sharding.journal import Journal
from sharding.marker import Counts, Promise, is_done
from sharding.plan import Kind, Plan, ShardRange, check_bound
from sharding.publication import Inspect
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.place import Place

if TYPE_CHECKING:
    from slurm.resources import Resources
    from synthclip_hpc.captioning.banks.bank import Bank
    from synthclip_hpc.captioning.models.find import ModelFiles
    from synthclip_hpc.captioning.prompts import Prompts
    from synthclip_hpc.curation.sources import CaptionSource
    from synthclip_hpc.lanes import SafePoint
    from synthclip_hpc.rendering.diffusion.folder import PipelineFiles
    from synthclip_hpc.run import Run


class LayoutLater(Exception):
    """How much there is to do does not follow from the configuration: a phase before this one has to run first."""


class ShardTaken(Exception):
    """Another attempt has published this shard in the meantime; there is nothing left to do for it."""


@dataclass(frozen=True)
class Sources:
    """What layouts read besides the configuration; read once for a command, and only when a layout asks."""

    config: RunConfig
    run: Run | None = None
    """For the sizes that only a finished phase knows."""

    @cached_property
    def bank(self) -> Bank:
        from synthclip_hpc.captioning.banks.bank import read_bank

        concepts = self.config.concepts
        return read_bank(
            concepts.bank,
            subset=concepts.subset,
            limit=concepts.limit,
            sample=concepts.sample,
            seed=self.config.seed,
            exclude=concepts.exclude,
        )

    @property
    def num_captions(self) -> int:
        """Captions that the run asks for, rejects included."""
        return len(self.bank.concepts) * self.config.captions.per_concept

    @cached_property
    def caption_source(self) -> CaptionSource:
        """The captions from elsewhere that `balance.source` names."""
        from synthclip_hpc.curation.sources import find_source

        assert self.config.balance.source is not None
        return find_source(self.config.balance.source)

    @cached_property
    def prompts(self) -> Prompts:
        """What the caption engine is asked."""
        from synthclip_hpc.captioning.registry import prompts_of

        return prompts_of(self.config.captions)

    @cached_property
    def model(self) -> ModelFiles | None:
        """The language model's files; None for an engine that opens none."""
        from synthclip_hpc.captioning.models.find import find_model
        from synthclip_hpc.captioning.registry import uses_model

        captions = self.config.captions
        return find_model(captions.model, captions.revision) if uses_model(captions) else None

    @cached_property
    def pipeline(self) -> PipelineFiles | None:
        """The text-to-image pipeline's files; None for a renderer that opens none."""
        from synthclip_hpc.rendering.registry import pipeline_of

        return pipeline_of(self.config.render)


@dataclass(frozen=True)
class Estimate:
    """What a phase will cost: a low and a high figure, and where they come from."""

    bytes_per_item: tuple[float, float]
    seconds_per_item: tuple[float, float]
    source: str
    device: str = "CPU"


def one_lane(config: RunConfig) -> int:
    """Return 1: shards one after the other."""
    return 1


def one_thread(config: RunConfig) -> int:
    """Return 1: work for one core."""
    return 1


def no_gpus(config: RunConfig) -> int:
    """Return 0: work for CPUs."""
    return 0


@dataclass(frozen=True)
class Phase:
    """One phase of a stage."""

    stage: str
    name: str
    kind: Kind
    upstream: Callable[[RunConfig], tuple[tuple[str, str], ...]]
    """(stage, phase) of the seals this phase builds on."""
    layout: Callable[[RunConfig, Sources], Plan]
    """The plan: a pure function of the configuration and the sources. Raises UserError for a bad value, LayoutLater
    when a phase before it has to run first."""
    open: Callable[[RunConfig, Run, Plan], AbstractContextManager[Callable[[ShardTask], None]]]
    """Load what all shards of an attempt share, once; yields the function that does one shard. With several lanes, so
    many threads call it at the same time."""
    inspect: Callable[[Run, Path, Plan, ShardRange], Counts]
    """Count the items of a finished output; ValueError when it is damaged or not that shard's."""
    estimate: Callable[[RunConfig], Estimate]
    promise: Callable[[RunConfig], Promise]
    """What its outputs keep when they are made again; a function of what the plan binds."""
    lanes: Callable[[RunConfig], int] = one_lane
    """How many shards an attempt works on at the same time."""
    threads: Callable[[RunConfig], int] = one_thread
    """How many cores each of these takes."""
    gpus: Callable[[RunConfig], int] = no_gpus
    """How many GPUs one worker takes."""
    contiguous: bool = False
    """Neighbouring shards read neighbouring inputs: an element gets a block of shards, not a stride."""
    weights: Callable[[Plan], Sequence[float]] | None = None
    """The cost of each shard, in any unit: an element gets a block of about its share of all of it."""
    made_again_with: tuple[tuple[str, str], ...] = ()
    """(stage, phase) after whose repair this one is made again: it links to their files, or tells of their bytes."""
    fault_beside: Callable[[Run], str | None] | None = None
    """What is wrong with what the finished phase keeps outside of its own folder; looked at by `verify`."""
    inline: bool = False
    """Done by `submit` itself: too small for a job, and the layouts that follow need it."""
    jobs_like: str | None = None
    """Another stage, where its own stage's jobs are of another size: what the profile says of that one holds and, of
    what a command says of jobs, where they run and not how much they get."""
    check_place: Callable[[RunConfig, Place], None] | None = None
    """A look at where the work is to be done, before anything is submitted. Raises UserError."""
    check_sealed: Callable[[PhaseDirectory, Plan], None] | None = None
    """A last look at the finished phase as a whole, before its seal. Raises ValueError."""
    remarks: Callable[[Plan], list[str]] | None = None
    """What commands tell of a plan that is to be started, a few lines: what it leaves out."""
    summary: Callable[[PhaseDirectory, Plan], list[str]] | None = None
    """What commands tell of the sealed phase, a few lines. Raises UserError for a damaged output."""

    @property
    def key(self) -> str:
        return f"{self.stage}/{self.name}"


def check_tasks(kind: Kind, resources: Resources) -> None:
    """Raise UserError when a job would run more tasks than its phase has work for: all would do the same."""
    num_tasks = resources.nodes * resources.tasks_per_node
    if kind == "gang" and resources.tasks_per_node > 1:
        raise UserError(
            f"slurm.tasks_per_node={resources.tasks_per_node}: training starts one launcher on each node, which starts "
            "the ranks; use slurm.tasks_per_node=1 (for this stage alone: [stage.train] of the profile), and "
            "train.processes_per_node for the number of ranks"
        )
    if kind != "gang" and num_tasks > 1:
        raise UserError(
            f"slurm.nodes × slurm.tasks_per_node = {num_tasks}: a {kind} phase runs one task an element; "
            "use slurm.nodes=1 slurm.tasks_per_node=1, and slurm.elements for more at once"
        )


@dataclass
class ShardTask:
    """One shard in the hands of one attempt."""

    directory: PhaseDirectory
    plan: Plan
    shard: ShardRange
    attempt: str
    inputs_hash: str
    promise: Promise
    inspect: Inspect
    journal: Journal
    provenance: Mapping[str, Any]
    stop: SafePoint | None = None
    attempt_started: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)
    _reported: int = 0
    _reported_at: float = 0.0
    _looked_at: float = field(default_factory=time.monotonic)

    # Often enough for a screen at first, then ever more seldom: 1,000 journals of a week must stay quick to read.
    REPORT_EVERY_S = 2.0
    REPORT_AT_LEAST_EVERY_S = 60.0
    LOOK_EVERY_S = 30.0

    def resumed(self, items: int) -> None:
        """Say how many items an earlier attempt left; call once, before the first batch."""
        self._reported = items
        self.journal.event("shard_start", shard=self.shard.index, resumed_items=items)

    def safe_point(self) -> None:
        """Stop here if a signal came (raises slurm.signals.Stopped), or if the shard is done already (ShardTaken)."""
        if self.stop is not None:
            self.stop.check()
        now = time.monotonic()
        if now - self._looked_at >= self.LOOK_EVERY_S:
            self._looked_at = now
            if is_done(self.directory, self.plan, self.shard.index):
                raise ShardTaken

    def progress(self, items: int) -> None:
        """Say that so many items of the shard are in the partial file."""
        now = time.monotonic()
        every = min(max(self.REPORT_EVERY_S, (now - self.attempt_started) / 100), self.REPORT_AT_LEAST_EVERY_S)
        if now - self._reported_at >= every:
            self.journal.event("progress", shard=self.shard.index, items=items, new=items - self._reported)
            self._reported, self._reported_at = items, now

    def publish(self, source: Path, counts: Counts) -> None:
        """Publish the finished output and its marker, and say so in the journal.

        Raises sharding.plan.PlanReplaced when the phase has another plan by now: this attempt was taken for ended.
        """
        from sharding.publication import publish_shard

        check_bound(self.directory, self.plan)
        facts = {**self.provenance, "attempt": self.attempt, "seconds": round(time.monotonic() - self.started, 3)}
        marker = publish_shard(
            self.directory,
            self.plan,
            self.shard.index,
            source,
            counts,
            inputs_hash=self.inputs_hash,
            promise=self.promise,
            provenance={**facts, "finished": time.time()},
            inspect=self.inspect,
        )
        self.shard_done(marker.counts, marker.size_bytes, new=counts.total - self._reported)

    def shard_done(self, counts: Counts, size_bytes: int, new: int, *, adopted: bool = False) -> None:
        """Repeat the marker's counts in the journal, so that status needs to open no markers.

        `adopted`: the output was found finished, without its marker; this attempt has not made it.
        """
        self.journal.event(
            "shard_done",
            shard=self.shard.index,
            total=counts.total,
            done=counts.done,
            rejected=counts.rejected,
            rejects=dict(counts.rejects),
            size_bytes=size_bytes,
            seconds=round(time.monotonic() - self.started, 3),
            new=new,
            adopted=adopted,
        )
