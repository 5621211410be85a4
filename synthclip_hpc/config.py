"""The configuration of a run: frozen dataclasses, one per stage; the line under a field is its help text.

Each field is either *identity* (it can change an output; it enters the plan hash) or *execution* (it cannot;
free at any time, recorded per submission). `tests/synthclip_hpc/test_identity_keys.py` pins the list.
"""

# ruff: noqa: UP007, UP045, RUF036
# Optional[X], and Union with None in front of a tuple: for `X | None`, and to test a default against a tuple, tyro
# imports typeguard, a third of the time that `--help` takes.

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional, TypeVar, Union

T = TypeVar("T")

BUILT_IN_BANKS = ("emoji",)
"""Concept banks that ship with the package."""


def identity(default: T) -> T:
    """Mark a field that can change an output."""
    value: T = field(default=default, metadata={"role": "identity"})
    return value


def execution(default: T) -> T:
    """Mark a field that provably cannot change an output."""
    value: T = field(default=default, metadata={"role": "execution"})
    return value


@dataclass(frozen=True)
class ConceptsConfig:
    """Which concepts captions are written for."""

    bank: str = identity("emoji")
    """Concept bank: `emoji` (built in), or a path: text (a concept a line), JSON list or TSV (first column), also
    compressed (.gz, .zst)."""
    limit: int = identity(0)
    """Keep the first so many concepts of the bank (0 = all)."""
    sample: int = identity(0)
    """Keep so many concepts of the bank, drawn with the run's seed (0 = all). Not together with `limit`."""


@dataclass(frozen=True)
class TemplateConfig:
    """The `template` engine."""

    items_per_s: float = execution(0.0)
    """Slow the engine down to so many captions a second and worker, for trials and drills (0 = full speed)."""


@dataclass(frozen=True)
class CaptionsConfig:
    """How captions are written."""

    engine: str = identity("template")
    """What writes the captions: `template` (CLIP's zero-shot templates: the paper's NaiveCLIP)."""
    per_concept: int = identity(1)
    """Captions for each concept."""
    shard_items: int = identity(1000)
    """Captions in one shard: one output file, the unit of completion."""
    batch_items: int = identity(256)
    """Captions handed to the engine at once: the most that a kill can cost."""
    template: TemplateConfig = field(default_factory=TemplateConfig)


@dataclass(frozen=True)
class RetriesConfig:
    """How often an element may be interrupted, by cause, before it gives up and waits for `resume`."""

    timeouts: int = execution(100)
    """Restarts after reaching the time limit."""
    preemptions: int = execution(1000)
    """Restarts after preemption."""
    node_failures: int = execution(10)
    """Restarts after losing the node."""
    errors: int = execution(3)
    """Shards that may fail with an error of our own before the attempt ends."""
    unknown: int = execution(20)
    """Restarts whose cause nobody could tell (a worker found dead, one that accounting cannot explain)."""


@dataclass(frozen=True)
class SlurmConfig:
    """What Slurm is asked for. A key given here wins over the profile's `[default]` and `[stage.NAME]` tables."""

    profile: Optional[str] = execution(None)
    """Cluster profile: `onemachine`, `a100-preemptible`, `container`, or the path of a TOML file."""
    partition: Optional[str] = execution(None)
    """Partition."""
    account: Optional[str] = execution(None)
    """Account to charge."""
    qos: Optional[str] = execution(None)
    """Quality of service."""
    constraint: Optional[str] = execution(None)
    """Node features, as sbatch takes them."""
    gres: Optional[str] = execution(None)
    """Generic resources a node, e.g. `gpu:1`."""
    exclude: Optional[str] = execution(None)
    """Nodes to avoid, e.g. `n1,n7`."""
    nodes: Optional[int] = execution(None)
    """Nodes for one job."""
    tasks_per_node: Optional[int] = execution(None)
    """Tasks on each node."""
    cpus: Optional[int] = execution(None)
    """CPUs for a task."""
    gpus_per_node: Optional[int] = execution(None)
    """GPUs on each node."""
    memory: Optional[str] = execution(None)
    """Memory a node, e.g. `8G`."""
    time_min: Optional[int] = execution(None)
    """Time limit in minutes."""
    elements: Optional[int] = execution(None)
    """At most so many array elements in a submission; each works through its share of the shards."""
    throttle: Optional[int] = execution(None)
    """At most so many elements at once (0 = no limit)."""
    max_array_size: Optional[int] = execution(None)
    """The cluster's MaxArraySize (0 = ask the cluster)."""
    python: Optional[str] = execution(None)
    """Python to start on the nodes (default: the one that submits)."""
    setup: Union[None, tuple[str, ...]] = execution(None)
    """Shell lines to run first on the node, e.g. `module load cuda`."""
    srun_args: Union[None, tuple[str, ...]] = execution(None)
    """Further arguments for srun."""
    container: Optional[str] = execution(None)
    """Container command put before python, e.g. `apptainer exec --nv image.sif`."""
    signal_lead_s: Optional[int] = execution(None)
    """Warning time before the time limit, in seconds."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that describes a run."""

    seed: int = identity(0)
    """Seed of everything random."""
    workers: int = execution(0)
    """Worker processes with `cluster=local` (0 = one per core)."""
    concepts: ConceptsConfig = field(default_factory=ConceptsConfig)
    captions: CaptionsConfig = field(default_factory=CaptionsConfig)
    retries: RetriesConfig = field(default_factory=RetriesConfig)
    slurm: SlurmConfig = field(default_factory=SlurmConfig)


def flatten(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yield (dotted key, value, field) for every leaf of a nested dataclass, in the order of definition."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from flatten(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value, item


def keys_with_role(role: str) -> list[str]:
    """Return the dotted keys of all `identity` or all `execution` fields."""
    return [key for key, _, item in flatten(RunConfig()) if item.metadata.get("role") == role]


def get(config: RunConfig, key: str) -> Any:
    """Return the value at a dotted key."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def with_values(config: T, values: dict[str, Any]) -> T:
    """Return `config` with the values of dotted keys replaced; the keys must exist."""
    nested: dict[str, dict[str, Any]] = {}
    plain: dict[str, Any] = {}
    for key, value in values.items():
        head, _, rest = key.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            plain[head] = value
    for head, inner in nested.items():
        plain[head] = with_values(getattr(config, head), inner)
    return dataclasses.replace(config, **plain)  # type: ignore[type-var]
