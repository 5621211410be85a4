"""The configuration of a run: frozen dataclasses, one per stage; the line under a field is its help text.

Each field is either *identity* (it can change an output; it enters the plan hash) or *execution* (it cannot;
free at any time, recorded per submission). `tests/synthclip_hpc/test_identity_keys.py` pins the list.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from synthclip_hpc.config.balance import BALANCE_MODES, MATCH_CASES, BalanceConfig
from synthclip_hpc.config.captions import (
    BUILT_IN_MODELS,
    BUILT_IN_PROMPTS,
    CaptionsConfig,
    TemplateConfig,
    TransformersConfig,
    VllmConfig,
)
from synthclip_hpc.config.concepts import BUILT_IN_BANKS, ConceptsConfig
from synthclip_hpc.config.eval import EVAL_TASKS, GLYPH_SETS, PROBES, EvalConfig
from synthclip_hpc.config.keys import flatten, get, with_values
from synthclip_hpc.config.merge import MergeConfig
from synthclip_hpc.config.render import RENDERERS, DiffusionConfig, GlyphsConfig, RenderConfig
from synthclip_hpc.config.report import ReportConfig
from synthclip_hpc.config.retries import RetriesConfig
from synthclip_hpc.config.roles import execution, identity
from synthclip_hpc.config.slurm import SlurmConfig
from synthclip_hpc.config.train import BUILT_IN_TRAIN_MODELS, TrainConfig

__all__ = [
    "BALANCE_MODES",
    "BUILT_IN_BANKS",
    "BUILT_IN_MODELS",
    "BUILT_IN_PROMPTS",
    "BUILT_IN_TRAIN_MODELS",
    "BalanceConfig",
    "CaptionsConfig",
    "ConceptsConfig",
    "DiffusionConfig",
    "EVAL_TASKS",
    "EvalConfig",
    "GLYPH_SETS",
    "GlyphsConfig",
    "MATCH_CASES",
    "MergeConfig",
    "PROBES",
    "RENDERERS",
    "RenderConfig",
    "ReportConfig",
    "RetriesConfig",
    "RunConfig",
    "SlurmConfig",
    "TemplateConfig",
    "TrainConfig",
    "TransformersConfig",
    "VllmConfig",
    "execution",
    "flatten",
    "get",
    "identity",
    "keys_with_role",
    "with_values",
]


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
    render: RenderConfig = field(default_factory=RenderConfig)
    merge: MergeConfig = field(default_factory=MergeConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    retries: RetriesConfig = field(default_factory=RetriesConfig)
    slurm: SlurmConfig = field(default_factory=SlurmConfig)


def keys_with_role(role: str) -> list[str]:
    """Return the dotted keys of all `identity` or all `execution` fields."""
    return [key for key, _, item in flatten(RunConfig()) if item.metadata.get("role") == role]
