"""The scenarios by stage and engine."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.eval_scenario import EvalScenario
from tests.chaos.render_scenario import RenderScenario
from tests.chaos.scenario import SHORT_LIMIT_MIN, Act, Scenario
from tests.chaos.train_scenario import TrainScenario

_TEMPLATE = Scenario(
    stage="captions",
    phases=("write",),
    compared=(("concepts", "read"), ("captions", "write")),
    concepts=2000,
    per_concept=5,
    shard_items=250,
    batch_items=25,
    elements=8,
    id_column="caption_id",
    acts=(
        Act(("slurm.partition=low",), ("sigkill-worker", "sigkill-slurmstepd", "requeue", "preempt"), 55),
        Act(("slurm.partition=low-grace",), ("sigkill-worker", "preempt-grace", "node-dies"), 75),
        Act(
            ("slurm.partition=main", f"slurm.time_min={SHORT_LIMIT_MIN}", "slurm.signal_lead_s=10"),
            ("sigkill-worker", "time-limit"),
            90,
        ),
        Act(("slurm.partition=low",), ("node-lost", "requeue"), 75),
    ),
    breaks=("scancel", "overlap", "cancel"),
    speed_key="captions.template.items_per_s",
)
_TRANSFORMERS = replace(
    _TEMPLATE,
    concepts=24,
    per_concept=4,
    shard_items=12,
    batch_items=4,
    elements=2,
    acts=(
        Act(("slurm.partition=low",), ("sigkill-worker", "requeue", "preempt"), 0, (8.0, 20.0)),
        Act(("slurm.partition=low",), ("sigkill-between-shards", "requeue"), 0, (8.0, 20.0)),
    ),
    breaks=("cancel",),
    keys=("captions.engine=transformers", "captions.model=smollm2", "captions.device=cpu", "captions.threads=1"),
    speed_key=None,
)
_VLLM = replace(
    _TRANSFORMERS,
    keys=(
        "captions.engine=vllm",
        "captions.model=smollm2",
        "captions.device=cpu",
        "captions.threads=1",
        "captions.vllm.eager=true",
    ),
)
_BALANCE_PHASES = ("match", "unique", "count", "score", "select", "cut", "coverage")
_BALANCE = replace(
    _TEMPLATE,
    stage="balance",
    phases=_BALANCE_PHASES,
    compared=(("concepts", "read"), ("captions", "write"), *(("balance", phase) for phase in _BALANCE_PHASES)),
    per_concept=2,
    shard_items=100,
    batch_items=100,
    acts=(
        Act(("slurm.partition=low",), ("sigkill-worker", "sigkill-slurmstepd", "requeue", "preempt"), 60),
        Act(("slurm.partition=low-grace",), ("sigkill-worker", "preempt-grace", "node-dies"), 60),
        Act(("slurm.partition=low",), ("node-lost", "requeue"), 60),
    ),
    keys=("balance.match_items=100", "balance.shard_items=100", "balance.target=2000"),
    speed_key="balance.items_per_s",
    prelude="captions",
    target=2000,
)
GLYPHS = RenderScenario(
    stage="render,merge",
    phases=("draw",),
    compared=(
        ("captions", "write"),
        ("balance", "cut"),
        ("render", "draw"),
        ("merge", "verify"),
        ("merge", "index"),
    ),
    concepts=446,
    per_concept=70,
    shard_items=200,
    batch_items=16,
    elements=8,
    id_column="caption_id",
    acts=_TEMPLATE.acts,
    breaks=_TEMPLATE.breaks,
    speed_key="render.items_per_s",
    prelude="captions,balance",
    target=20_000,
    late_kills=(("merge", "verify"), ("merge", "index"), ("merge", "index")),
    late_s=0.3,
    folders=("dataset",),
    redrawn=20_000,
)
_DIFFUSION = replace(
    GLYPHS,
    per_concept=2,
    shard_items=20,
    batch_items=4,
    elements=2,
    acts=(
        Act(("slurm.partition=low",), ("sigkill-worker", "requeue", "preempt"), 50, (5.0, 12.0)),
        Act(("slurm.partition=low",), ("sigkill-between-shards", "requeue"), 50, (5.0, 12.0)),
    ),
    breaks=("cancel",),
    keys=(
        "render.renderer=diffusion",
        "render.preset=sd15",
        "render.diffusion.steps=3",
        "render.diffusion.native_size=64",
        "render.size=64",
        "render.device=cpu",
        "render.threads=1",
    ),
    target=400,
    begun="progress",
    late_s=0.3,
    task_tars=5,
    pipeline=True,
    redrawn=200,
)
TRAIN = TrainScenario(
    stage="train",
    phases=("fit",),
    compared=(("train", "fit"),),
    concepts=446,
    per_concept=2,
    shard_items=128,
    batch_items=128,
    elements=1,
    id_column="",
    acts=(
        Act(("slurm.partition=low",), ("sigkill-rank", "preempt", "sigkill-agent", "requeue"), 0),
        Act(("slurm.partition=low-grace",), ("sigkill-rank", "preempt-grace", "corrupt-checkpoint", "node-dies"), 0),
        Act(
            ("slurm.partition=main", f"slurm.time_min={SHORT_LIMIT_MIN}", "slurm.signal_lead_s=10"),
            ("sigkill-agent", "time-limit"),
            0,
        ),
        Act(("slurm.partition=low",), ("sigkill-worker", "node-lost", "sigkill-slurmstepd"), 0),
    ),
    begun="training",
    breaks=("cancel", "scancel"),
    keys=(
        "render.size=64",
        "train.model=resnet-tiny",
        "train.device=cpu",
        "train.lr=1e-3",
        "train.warmup_epochs=1",
        "train.weight_decay=0.05",
        "train.chunk_samples=8",
        "train.group_chunks=4",
        "train.lanes=4",
    ),
    prelude="captions,balance,render,merge",
    target=640,
    folders=("train/export",),
    epochs=24,
    batch_size=32,
    save_steps=20,
    in_flight_steps=6,
    ranks=4,
)
EVAL = EvalScenario(
    stage="eval",
    phases=("sets", "models", "cells"),
    compared=(("eval", "sets"), ("eval", "models"), ("eval", "cells")),
    concepts=446,
    per_concept=2,
    shard_items=128,
    batch_items=1,
    elements=2,
    id_column="",
    acts=(
        Act(("slurm.partition=low",), ("sigkill-worker", "requeue", "preempt"), 0, (6.0, 14.0)),
        Act(("slurm.partition=low",), ("sigkill-worker", "requeue"), 0, (6.0, 14.0)),
    ),
    begun="shard_start",
    breaks=("cancel",),
    keys=(
        "render.size=64",
        "train.model=resnet-tiny",
        "train.device=cpu",
        "train.epochs=2",
        "train.batch_size=32",
        "train.lr=1e-3",
        "train.warmup_epochs=0.5",
        "train.weight_decay=0.05",
        "eval.checkpoints=all",
        "eval.device=cpu",
        "eval.episodes=500",
    ),
    prelude="captions,balance,render,merge,train",
    target=640,
    timeout_s=1800,
    late_kills=(("eval", "cells"), ("eval", "cells")),
    late_s=6.0,
    glyph_images=10,
)
SCENARIOS: dict[str, dict[str, Scenario]] = {
    "captions": {"template": _TEMPLATE, "transformers": _TRANSFORMERS, "vllm": _VLLM},
    "balance": {"own": _BALANCE},
    "train": {"glyphs": TRAIN},
    "eval": {"sets": EVAL},
    "render": {"glyphs": GLYPHS, "diffusion": _DIFFUSION},
}
"""Stage -> engine -> scenario; the first engine is what `--engine` leaves out."""
