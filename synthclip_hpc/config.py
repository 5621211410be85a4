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

# What ships with the package, by key: names that are no paths.
BUILT_IN_BANKS = ("wordnet", "emoji")
BUILT_IN_PROMPTS = ("paper", "released", "unconditioned", "topics", "in-context")
BUILT_IN_MODELS = ("smollm2",)

BALANCE_MODES = ("balanced", "random", "none")
MATCH_CASES = ("exact", "first-word", "fold")
"""`exact`: the rule as it stands. `first-word`: a caption also matches what it would match if the first character of
its first word were in lower case (its first word is the first that is neither empty nor a mark; captions begin with a
capital letter, and most entries do not). `fold`: caption and entry are casefolded before the rule is applied; entries
that differ only in case match together. In all three an entry counts once a caption."""


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

    bank: str = identity("wordnet")
    """Concept bank: `wordnet` (the numbers 0 to 99 and 86,554 names), `emoji` (446 nouns), or a path: text (a concept a
    line; `#` starts no comment), JSON list such as MetaCLIP's metadata.json, or TSV (first column); also packed (.gz,
    .zst)."""
    subset: Optional[str] = identity(None)
    """Part of the bank, before `limit` and `sample`: `captions=FILE` (the concepts that its captions name: the paper's
    C_CC3M) or `random=K` (C_rand)."""
    limit: int = identity(0)
    """Keep the first so many concepts of the bank (0 = all)."""
    sample: int = identity(0)
    """Keep so many concepts of the bank, drawn with the run's seed (0 = all). Not together with `limit`."""
    exclude: Optional[str] = identity(None)
    """File of concepts to leave out, in any form a bank may have: a safety list, say. Whole concepts are compared,
    whatever their case and what they hold that does not show. They keep their place and count as rejects. With
    templates and in float32 no other caption changes; in bfloat16 those of the same batch may, by rounding."""


@dataclass(frozen=True)
class TemplateConfig:
    """The `template` engine."""

    items_per_s: float = execution(0.0)
    """Slow the engine down to so many captions a second and worker, for trials and drills (0 = full speed)."""


@dataclass(frozen=True)
class TransformersConfig:
    """The `transformers` engine."""

    device_batch_items: int = identity(0)
    """Prompts on the device at once (0 = the whole batch); it halves by itself when the device runs out of memory."""


@dataclass(frozen=True)
class VllmConfig:
    """The `vllm` engine."""

    eager: bool = identity(False)
    """Leave out compilation and CUDA graphs: starts faster, runs slower, and rounds differently."""
    tensor_parallel: int = execution(1)
    """GPUs that one engine spreads its model over (1 with `captions.device=cpu`)."""
    gpu_memory: float = execution(0.9)
    """Share of a GPU's memory that the engine may take."""
    cpu_cache_gib: int = identity(1)
    """GiB of memory for the key-value cache with `captions.device=cpu`."""


@dataclass(frozen=True)
class CaptionsConfig:
    """How captions are written."""

    engine: str = identity("template")
    """What writes the captions: `template` (CLIP's zero-shot templates: the paper's NaiveCLIP), `transformers`, `vllm`,
    or an engine of your own as `module:function`."""
    model: str = identity("mistralai/Mistral-7B-Instruct-v0.2")
    """Language model: a local folder, a hub id, or `smollm2` (SmolLM2-135M-Instruct from the package registry)."""
    revision: Optional[str] = identity(None)
    """Branch, tag or commit of a hub id (default: the one in the local cache's `main`)."""
    prompt: str = identity("paper")
    """What the model is asked: `paper`, `released`, `unconditioned`, `topics`, `in-context`, or a text file with
    `{concept}` in it."""
    per_concept: int = identity(1)
    """Captions for each concept."""
    shard_items: int = identity(1000)
    """Captions in one shard: one output file, the unit of completion."""
    batch_items: int = identity(256)
    """Captions handed to the engine at once: the most that a kill can cost."""
    temperature: float = identity(0.7)
    """Sampling temperature (0 = always the likeliest token)."""
    top_p: float = identity(0.95)
    """Sample among the likeliest tokens that together have this probability."""
    presence_penalty: float = identity(1.0)
    """Taken off the logit of each token that the answer has already."""
    frequency_penalty: float = identity(1.0)
    """Taken off the logit of a token for each time that the answer has it already."""
    max_tokens: int = identity(0)
    """Longest answer, in tokens (0 = 64 for each caption that the prompt asks for)."""
    max_words: int = identity(15)
    """Longest caption, in words (0 = any)."""
    require_concept: bool = identity(False)
    """Reject a caption that does not name its concept; the prompt must name it, which `unconditioned` and `topics` do
    not."""
    max_tries: int = identity(3)
    """Answers asked for until a caption passes the checks."""
    device: str = identity("cuda")
    """Where a language model runs: `cuda` or `cpu`."""
    dtype: str = identity("auto")
    """`float32`, `bfloat16`, `float16`, or `auto`: bfloat16, and float32 for `transformers` on the CPU."""
    threads: int = identity(1)
    """CPU threads of an engine: the order of a sum depends on them."""
    engines: int = execution(1)
    """Engines side by side in one worker, each on a GPU of its own: for clusters that give whole nodes."""
    template: TemplateConfig = field(default_factory=TemplateConfig)
    transformers: TransformersConfig = field(default_factory=TransformersConfig)
    vllm: VllmConfig = field(default_factory=VllmConfig)


@dataclass(frozen=True)
class BalanceConfig:
    """Which captions make the balanced set, and in which order."""

    target: Optional[int] = identity(None)
    """Captions to keep: exactly so many."""
    t: Optional[float] = identity(None)
    """In place of `target`: MetaCLIP's threshold, captions of a concept from which on they are thinned out."""
    mode: str = identity("balanced")
    """`balanced` over concepts, `random` (the paper's ablation), or `none` (all captions that name a concept)."""
    source: Optional[str] = identity(None)
    """Captions from elsewhere in place of the run's own: a table or folder (Parquet, TSV, text; .gz, .zst)."""
    case: str = identity("exact")
    """How concepts are found in captions: `exact` (MetaCLIP's rule), `first-word` (a capital at its start is no
    matter), or `fold` (upper and lower case are the same)."""
    shard_items: int = identity(1000)
    """Captions in one shard of the set, which is one shard of images later."""
    match_items: int = identity(500_000)
    """Captions in one task of the work in between."""
    keep_unmatched: bool = identity(False)
    """Keep captions that name no concept, all of them."""
    allow_short: bool = identity(False)
    """Go on when there are fewer usable captions than `target`."""
    items_per_s: float = execution(0.0)
    """Slow a task down to so many captions a second and worker, for trials and drills (0 = full speed)."""


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
    """Worker processes with `cluster=local` (0 = cores over the threads of a worker's engines)."""
    concepts: ConceptsConfig = field(default_factory=ConceptsConfig)
    captions: CaptionsConfig = field(default_factory=CaptionsConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
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


def get(config: Any, key: str) -> Any:
    """Return the value at a dotted key of a nested dataclass."""
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
