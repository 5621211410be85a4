"""How captions are written."""

# ruff: noqa: UP045
# Optional[X]: see slurm.py.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from synthclip_hpc.config.roles import execution, identity

# What ships with the package: names that are no paths.
BUILT_IN_PROMPTS = ("paper", "released", "unconditioned", "topics", "in-context")
BUILT_IN_MODELS = ("smollm2",)
WORDINGS = ("clip", "emoji")


@dataclass(frozen=True)
class TemplateConfig:
    """The `template` engine."""

    wording: str = identity("clip")
    """`clip` (CLIP's 80 zero-shot templates), or `emoji` (187 short ones for pictures of emoji: the name, in some a
    background's colour or a second emoji)."""
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
