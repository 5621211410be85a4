"""Which training settings are valid, and what they come to. Without torch: `submit` looks at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synthclip_hpc.config.train import INTERPOLATIONS, NORMALIZATIONS, TrainConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.models.runtime import DEVICES
from synthclip_hpc.training.loss_choice import chosen_tile

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_CHOICES = {
    "device": DEVICES,
    "precision": PRECISIONS,
    "normalize": NORMALIZATIONS,
    "interpolation": INTERPOLATIONS,
}
_POSITIVE = ("epochs", "batch_size", "lr", "accumulate", "threads", "chunk_samples", "group_chunks", "lanes")
_POSITIVE_EXECUTION = ("prefetch_batches", "start_timeout_s", "log_steps")
_NOT_NEGATIVE = (
    "warmup_epochs",
    "warmup_lr",
    "final_lr",
    "weight_decay",
    "grad_clip",
    "loader_workers",
    "processes_per_node",
    "checkpoint_min",
    "checkpoint_steps",
    "mark_epochs",
)


def check_settings(train: TrainConfig) -> None:
    """Raise UserError for the first value that cannot be."""
    for name, valid in _CHOICES.items():
        value = getattr(train, name)
        if value not in valid:
            raise UserError(f"train.{name}={value}: none of these{nearest(value, valid)}; valid: {', '.join(valid)}")
    chosen_tile(train.loss, train.loss_tile)
    _require(train, (*_POSITIVE, *_POSITIVE_EXECUTION), lambda value: value > 0, "a number above 0")
    _require(train, _NOT_NEGATIVE, lambda value: value >= 0, "0 or more")
    _require(train, ("beta1", "beta2"), lambda value: 0 <= value < 1, "from 0 to below 1")
    _require(train, ("eps",), lambda value: value > 0, "a number above 0, such as 1e-8")
    _require(train, ("crop_min",), lambda value: 0 < value <= 1, "a part of the image, above 0 and up to 1")
    _require(train, ("color_jitter",), lambda value: 0 <= value <= 1, "a strength from 0 to 1, such as 0.3")
    _require(train, ("keep_checkpoints",), lambda value: value >= 2, "2 at least: the newest may be the damaged one")
    if train.warmup_epochs >= train.epochs:
        raise UserError(
            f"train.warmup_epochs={train.warmup_epochs}: the learning rate would rise to the end; "
            f"make it less than train.epochs={train.epochs}"
        )
    if train.precision == "float16" and train.device == "cpu":
        raise UserError("train.precision=float16: on the CPU only float32 and bfloat16 can be trained in; choose one")


def _require(train: TrainConfig, names: tuple[str, ...], holds: Callable[[Any], bool], valid: str) -> None:
    for name in names:
        value = getattr(train, name)
        # Written so that a NaN, which is unequal to everything, is refused as well.
        if not holds(value):
            raise UserError(f"train.{name}={value}: wanted {valid}")


def precision_of(train: TrainConfig) -> str:
    """Return what is computed in: `float32`, `bfloat16` or `float16`."""
    if train.precision != "auto":
        return train.precision
    return "bfloat16" if train.device == "cuda" else "float32"


def check_world(train: TrainConfig, world_size: int) -> None:
    """Raise UserError when the batch cannot be shared out evenly over the ranks, and each share over its parts."""
    if train.batch_size % world_size:
        raise UserError(
            f"train.batch_size={train.batch_size} cannot be shared evenly by {world_size} ranks; change the number of "
            "nodes or train.processes_per_node to one that divides it (a new batch size needs a new run)"
        )
    share = train.batch_size // world_size
    if share % train.accumulate:
        raise UserError(
            f"train.accumulate={train.accumulate} does not divide a rank's share of the batch, which is {share} pairs "
            f"with {world_size} ranks; change the number of ranks, or the one or the other in a new run"
        )
