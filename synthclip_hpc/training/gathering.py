"""Rows that every rank of a group sees: gathered with or without gradients, and numbers averaged over the ranks.

Without a process group, or in a group of one, each of these returns what it was given. All ranks of the group must call
them in the same order and with tensors of the same shape and dtype.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# The older of its names is on its way out of torch.
_all_gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)


def ranks(group: dist.ProcessGroup | None) -> tuple[int, int]:
    """Return this process's place in `group` (None = all processes) and how many processes it has."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(group), dist.get_world_size(group)


def gather(rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the (n, ...) of each rank as one (n * ranks, ...), in the order of the ranks; no gradient flows back."""
    _, count = ranks(group)
    rows = rows.detach()
    if count == 1:
        return rows
    gathered = rows.new_empty((count * rows.shape[0], *rows.shape[1:]))
    _all_gather(gathered, rows.contiguous(), group=group)
    return gathered


def gather_with_gradient(rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return what `gather` does; each rank's rows then get the sum of the gradients that all ranks have for them."""
    return rows if ranks(group)[1] == 1 else _Gather.apply(rows, group)


def mean_over_ranks(value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the mean of the ranks' values; its gradient is that of this rank's own value alone.

    The ranks' gradients are averaged in the end, by DistributedDataParallel, and the mean of the gradients of all own
    values is the gradient of the mean.
    """
    return value if ranks(group)[1] == 1 else _Mean.apply(value, group)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group, ctx.num_rows = group, rows.shape[0]
        return gather(rows, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Not a reduce-scatter: gloo has none in every version of torch that is supported.
        total = gradient.contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        first = ranks(ctx.group)[0] * ctx.num_rows
        return total[first : first + ctx.num_rows], None


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        total = value.clone()
        dist.all_reduce(total, group=group)
        return total / ranks(group)[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
