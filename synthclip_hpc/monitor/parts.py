"""What a snapshot is made of, part by part. All are immutable; times are seconds since 1970, spans are seconds.

A part that did not change between two snapshots is the same object in both, where that is cheap: ended attempts,
phases that are done, cells of the evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A range of a number that is not known exactly; `low` is at most `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class HeatCell:
    """The shards `first` to `stop - 1`; done + running + failed + pending = all of them."""

    first: int
    stop: int
    done: int
    running: int
    """Not done, and an attempt that is alive is at them."""
    failed: int
    """Not done, nobody is at them, and the last attempt at them ended with an error of its own."""
    pending: int
    rejected: int
    """Items (not shards) that were rejected in the shards that are done."""


@dataclass(frozen=True)
class Hours:
    """Hours of devices that a phase has used and will have used."""

    device: str
    """`GPU` or `CPU` (cores)."""
    used: float
    """Device hours of all attempts so far, start-up and lost work included."""
    expected: Span | None
    """Used and still to be used, together; None where nothing tells."""
    source: str
    """What `expected` comes from, in words."""


@dataclass(frozen=True)
class Wait:
    """Why some jobs wait, by squeue."""

    reason: str
    """Slurm's word, e.g. `Priority`."""
    text: str
    """The same in plain words."""
    jobs: int
    """Array elements and plain jobs that wait for this reason."""
    starts: float | None
    """When Slurm expects the first of them to start; None where it does not say."""
    stuck: bool
    """It will never start without the user."""


@dataclass(frozen=True)
class GpuSample:
    """One summary of an attempt's GPUs, over about 30 s."""

    time: float
    utilisation_percent: float
    """Mean over its GPUs, 0 to 100."""
    memory_bytes: int
    """Of the fullest GPU."""
    memory_total_bytes: int


@dataclass(frozen=True)
class AttemptStatus:
    """One life of an element."""

    name: str
    """`JOB_INDEX_RESTART`; its journal and log go by it."""
    submission: str
    element: int | str
    """The array index."""
    restart: int
    node: str
    state: str
    """running | completed | failed | interrupted (by a signal, a preemption, a kill)

    failed: with an error of its own, or given up after too many interruptions.
    """
    cause: str
    """Why it ended early, one of monitor.causes.CAUSES; empty while it runs and when it completed."""
    message: str
    """Its last error, in a line."""
    started: float | None
    """None when its first event was lost."""
    ended: float | None
    """None while it runs. Of one that was killed: when it was last heard of."""
    shards_done: int
    shards_failed: int
    items: int
    """Items that this attempt itself has made."""
    items_per_s: float | None
    """Mean over the last 5 minutes while it runs, over its life when it has ended."""
    heard_age_s: float | None
    """Seconds since its last event, never negative; None when it has ended."""
    shards_now: tuple[int, ...]
    """Shards it is at."""
    throughput: tuple[float, ...]
    """Items per second in each minute of the last half hour, oldest first; for a sparkline. Empty when it has ended."""
    gpu: tuple[GpuSample, ...]
    """The last samples (40 at most), oldest first. Empty when it has ended or has no GPU."""
    ready_s: float | None
    """How long it took from its start until the first shard."""


@dataclass(frozen=True)
class Straggler:
    """A shard that takes long, or an attempt at it that has fallen silent."""

    shard: int
    attempt: str
    node: str
    running_s: float
    """Since this attempt began it."""
    times_median: float | None
    """The same as a multiple of the median shard; None while fewer than 5 shards are done."""
    silent_s: float
    """Since the attempt was last heard of."""
    why: str
    """slow | silent"""


@dataclass(frozen=True)
class ShardRow:
    """One shard, for a table that is made on demand."""

    shard: int
    state: str
    """done | running | failed | pending"""
    items_total: int
    items_done: int
    items_rejected: int
    attempt: str
    """The last attempt at it; empty where none is known."""
    node: str
    seconds: float | None
    """What the finishing attempt took for it; of a running one, how long it has been at it."""
    message: str
    """The last error, of a failed one."""


@dataclass(frozen=True)
class CurvePoint:
    """A training at one step."""

    time: float
    step: int
    epoch: float
    loss: float | None
    """None where it was not finite."""
    samples_per_s: float | None


@dataclass(frozen=True)
class TrainingStatus:
    """How far the training is; from the journals of train/fit."""

    step: int
    total_steps: int | None
    """None while the size of the data set is not known."""
    epoch: float
    """Epochs that are done, with the fraction of the present one where the size is known."""
    epochs: int
    loss: float | None
    samples_per_s: float | None
    data_wait_s: float | None
    """Seconds a step that waited for data, at the last look."""
    curve: tuple[CurvePoint, ...]
    """Spread evenly over the steps so far, 400 at most; of steps done twice only what training went on with."""
    checkpoint_step: int | None
    """Of the last checkpoint that stands."""
    checkpoint_age_s: float | None
    checkpoints_failed: int
    lost_work_s: float
    """Work after the last checkpoint before an interruption, done again; all interruptions together."""
    lost_waiting_s: float
    """From the ends of interrupted attempts to the first step of the next, together."""
    told_age_s: float
    """How old these numbers are."""
    eta: Span | None = None
    """Seconds to the last step: at the pace of the last 5 minutes, and at that since the first step with all that was
    lost. None while the size of the data set is not known, and before the second word."""


@dataclass(frozen=True)
class EvaluationCell:
    """One cell of the evaluation: a model on a data set by a task."""

    shard: int
    """Its number in eval/cells."""
    model: str
    epoch: int | None
    """None for an outside model, and as long as the cell is not done."""
    dataset: str
    task: str
    state: str
    """done | running | failed | pending | unreadable (done, but its file cannot be read: run verify)"""
    main: str
    """Name of the number that stands for the cell; empty where it has none yet."""
    value: float | None
    """That number, as a fraction."""
    metrics: Mapping[str, float | None]
    """All numbers of the cell, as fractions."""


@dataclass(frozen=True)
class EvaluationStatus:
    """The matrix of models, data sets and tasks, in the order of the plan."""

    cells: tuple[EvaluationCell, ...]
    cells_done: int


@dataclass(frozen=True)
class Alarm:
    """Something that goes wrong and needs the user, or will; the worst first."""

    kind: str
    """stuck | failed | stopped | node | failing | silent | idle-gpu | queue | clock | journal"""
    where: str
    """`stage/phase`, a node, or a source."""
    text: str
    """One line: what, and what to do."""
