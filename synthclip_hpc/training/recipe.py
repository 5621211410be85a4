"""How weights are changed: learning rate by step, weight decay by parameter, AdamW, and the bound of the logit scale.

The configuration's defaults are the paper's recipe, as its released training code has it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from synthclip_hpc.config.train import TrainConfig

MAX_LOGIT_SCALE = math.log(100)
_NO_DECAY = ("bias", "ln", "bn")


def learning_rate(step: int, *, total_steps: int, warmup_steps: int, peak: float, first: float, last: float) -> float:
    """Return the learning rate of a step, 0 ≤ step < total_steps.

    From `first` at step 0 in a line to `peak` at step `warmup_steps`, then half a cosine to `last` at the last step.
    The paper's code has the same curve up to one step: it has its peak twice, and ends one step before `last`.
    """
    if step < warmup_steps:
        return first + (peak - first) * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps)
    return last + (peak - last) * 0.5 * (1 + math.cos(math.pi * progress))


def param_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups: parameters with weight decay, and those without.

    Without are scalars and vectors, and whatever has `bias`, `ln` or `bn` in its name. Position embeddings, class
    tokens that are no plain vectors, the token embedding and the projections are decayed, as in the paper's code.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            without = parameter.ndim < 2 or any(part in name for part in _NO_DECAY)
            (others if without else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def make_optimizer(module: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW, fused, for parameters that are on their device already; the loop sets `lr` of each group.

    Setting `optimizer.found_inf` to a float32 tensor of exactly 1.0 on the parameters' device makes `step` change
    nothing, neither weights nor state nor step counts, without waiting for the device; 0.0 makes it a usual step. That
    is the fused kernels' own switch. torch.amp.GradScaler sets and deletes the same attribute when it steps.
    """
    import torch

    return torch.optim.AdamW(
        param_groups(module, train.weight_decay),
        lr=train.lr,
        betas=(train.beta1, train.beta2),
        eps=train.eps,
        fused=True,
    )


def clamp_logit_scale(module: nn.Module) -> None:
    """Bring the logit scale back into [0, ln 100], in place; meant for after every step of the optimiser."""
    import torch

    with torch.no_grad():
        module.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)  # type: ignore[operator, union-attr]
