"""The contrastive loss a few rows of its matrix at a time, computed once forward and once more backward.

With r_i the log-sum-exp of row i of the logits `s I T^T` and c_j that of column j, the gradient of L (see loss.py) is

    dL/dI_i = s/2N  sum_j [exp(s I_i T_j - r_i) + exp(s I_i T_j - c_j) - 2 (i = j)] T_j,

for texts the same with the sides swapped, and dL/ds = 1/2N sum_ij [...]_ij (I_i T_j). So r and c, N numbers each, are
all that the backward pass needs beside the features, and it needs nothing from the other ranks. Without `gather_grad`
the sum for an image has the first exponential alone, and that for a text the second.

A rank computes the block of its own images against all texts in the forward pass: the rows are whole there, and the
columns become whole when each rank has sent the part that it saw. In the backward pass that block is computed again,
and then the one of the other ranks' images against its own texts. One process computes each logit twice in all, and
never holds more of them than two tiles.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from synthclip_hpc.training.gathering import gather, ranks


class TiledLoss(torch.autograd.Function):
    """`apply(images, texts, scale, gather_grad, tile, group)` is contrastive_loss, in the dtype of `scale`.

    `images` and `texts` are (n, D) of one dtype, `scale` has no dimension. Two (`tile`, N) arrays exist at most.
    """

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        texts: Tensor,
        scale: Tensor,
        gather_grad: bool,
        tile: int,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        n, width = images.shape
        rank, count = ranks(group)
        # Both sides in one exchange; the halves of the result are used as they lie there, without a copy.
        pairs = gather(torch.cat([images, texts], dim=1), group).to(scale.dtype) if count > 1 else None
        all_images = images.to(scale.dtype) if pairs is None else pairs[:, :width]
        all_texts = texts.to(scale.dtype) if pairs is None else pairs[:, width:]
        own = slice(rank * n, (rank + 1) * n)

        rows, columns = _log_sums(all_images[own] * scale, all_texts, tile)
        matching = (all_images[own] * all_texts[own]).sum(dim=1) * scale
        seen = gather(torch.cat([rows, matching, columns])[None], group)
        rows, matching, columns = seen[:, :n].reshape(-1), seen[:, n : 2 * n].reshape(-1), seen[:, 2 * n :]
        columns = torch.logsumexp(columns, dim=0)

        ctx.save_for_backward(all_images, all_texts, scale, rows, columns)
        ctx.own, ctx.gather_grad, ctx.tile, ctx.dtype = own, gather_grad, tile, images.dtype
        # From the same numbers in the same order on every rank, so the same to the last bit.
        return ((rows - matching) + (columns - matching)).mean() / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, texts, scale, rows, columns = ctx.saved_tensors
        own: slice = ctx.own
        n = own.stop - own.start
        # An autocast around a backward pass does no harm: products that are told where to go are left alone by it.
        of_images, of_texts = _weighted_sums(images, texts, scale, rows, columns, own, ctx.gather_grad, ctx.tile)
        # With gradients to both sides each logit has been counted for its image and for its text.
        counted = 4 if ctx.gather_grad else 2
        of_scale = (torch.sum(images[own] * of_images) + torch.sum(texts[own] * of_texts)) * gradient / (counted * n)
        factor = scale * gradient / (2 * n)
        image_gradient, text_gradient = of_images.mul_(factor), of_texts.mul_(factor)
        return image_gradient.to(ctx.dtype), text_gradient.to(ctx.dtype), of_scale, None, None, None


def _log_sums(images: Tensor, texts: Tensor, tile: int) -> tuple[Tensor, Tensor]:
    """The log-sum-exp of each row (n) and of each column (N) of the (n, N) logits of scaled images and texts."""
    n, total = len(images), len(texts)
    logits, spare = (images.new_empty(min(tile, n) * total) for _ in range(2))
    rows = images.new_empty(n)
    columns = images.new_full((total,), -torch.inf)
    for part in _parts(0, n, tile):
        found = torch.mm(images[part], texts.T, out=_shaped(logits, images[part], texts))
        rows[part] = _log_sum_exp(found, 1, spare)
        columns = torch.logaddexp(columns, _log_sum_exp(found, 0, spare))
    return rows, columns


def _log_sum_exp(logits: Tensor, dim: int, spare: Tensor) -> Tensor:
    """As torch.logsumexp, without memory of its own, and NaN where that says infinity."""
    highest = logits.amax(dim=dim, keepdim=True)
    powers = torch.sub(logits, highest, out=spare[: logits.numel()].view_as(logits)).exp_()
    return powers.sum(dim=dim).log_().add_(highest.squeeze(dim))


def _weighted_sums(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    rows: Tensor,
    columns: Tensor,
    own: slice,
    gather_grad: bool,
    tile: int,
) -> tuple[Tensor, Tensor]:
    """The sums over j of this file's head, (n, D) each: of texts for the own images, of images for the own texts."""
    total, width = images.shape
    n = own.stop - own.start
    scaled = images * scale
    memory, spare = (images.new_empty(min(tile, n) * total) for _ in range(2))
    of_images, of_texts = images.new_empty(n, width), images.new_zeros(n, width)

    for part in _parts(own.start, own.stop, tile):
        logits = torch.mm(scaled[part], texts.T, out=_shaped(memory, scaled[part], texts))
        along_columns = torch.sub(logits, columns, out=spare[: logits.numel()].view_as(logits)).exp_()
        along_rows = logits.sub_(rows[part, None]).exp_()
        along_rows[:, part].diagonal().sub_(1)
        along_columns[:, part].diagonal().sub_(1)
        if gather_grad:
            along_rows = along_columns = along_columns.add_(along_rows)
        torch.mm(along_rows, texts, out=of_images[part.start - own.start : part.stop - own.start])
        of_texts.addmm_(along_columns[:, own].T, images[part])

    # These are n columns of all N, so they may be as many times as high as there are ranks.
    height = tile * (total // n)
    for part in itertools.chain(_parts(0, own.start, height), _parts(own.stop, total, height)):
        logits = torch.mm(scaled[part], texts[own].T, out=_shaped(memory, scaled[part], texts[own]))
        weights = torch.sub(logits, columns[own], out=spare[: logits.numel()].view_as(logits)).exp_()
        if gather_grad:
            weights.add_(logits.sub_(rows[part, None]).exp_())
        of_texts.addmm_(weights.T, images[part])
    return of_images, of_texts


def _parts(start: int, stop: int, size: int) -> Iterator[slice]:
    """The range from `start` to `stop`, `size` at a time; the last one may be shorter."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _shaped(memory: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The beginning of `memory` as a matrix for `left @ right.T`."""
    return memory[: len(left) * len(right)].view(len(left), len(right))
