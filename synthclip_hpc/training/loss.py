"""CLIP's contrastive loss over the pairs of all ranks (arXiv 2103.00020 2.3; the paper trains with SLIP's code).

For N unit image features I and text features T and a scale s, with the logits `s I T^T`,

    L = 1/2 mean_i CE(s I_i T^T, i) + 1/2 mean_i CE(s T_i I^T, i).

Each rank has n of the N pairs. It returns the same L as all others, and gradients whose mean over the ranks, which is
what DistributedDataParallel takes, is the gradient of L: for its own features that is `ranks` times dL/d(features).

`gather_grad=False` is the rule of SLIP's code. A rank then takes the features that its own ones are compared with as
constants, so an image learns from the row of its own logits alone and never from the columns it stands in. Two others
are near it and differ. open_clip without `gather_with_grad` puts the rank's own slice back among the gathered
features, so gradients flow inside the slice (unless `local_loss` is set). SLIP in a single process gathers nothing and
so lets all gradients flow; here they are held there too, for a run to learn the same on one GPU as on many.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from synthclip_hpc.training.gathering import gather, gather_with_gradient, mean_over_ranks, ranks
from synthclip_hpc.training.tiled_loss import TiledLoss


def contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    *,
    gather_grad: bool,
    tile: int | None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Return the loss of the whole batch, a scalar that is the same on every rank of `group` (None = all processes).

    Both features are (n, D) with rows of unit length, n the same on every rank; row i of one belongs to row i of the
    other. `logit_scale` is the factor s itself, a tensor with one element. Half-precision features are computed with in
    float32, whatever autocast says; float64 stays float64. The result is of the dtype that was computed in.

    With `tile` no more than `tile` * N logits exist at once, forward and backward (see TiledLoss); with None a rank's
    2 * n * N logits go through autograd, whose backward pass is not for an autocast. The numbers are the same. NaN or
    infinity in a feature gives NaN.

    Raises ValueError for features that are not two (n, D) of floating-point numbers with n of 1 at least, for a scale
    of several numbers, and for a tile below 1.
    """
    _check(image_features, text_features, logit_scale, tile)
    common = torch.promote_types(image_features.dtype, text_features.dtype)
    computed = torch.promote_types(common, torch.float32)
    scale = logit_scale.reshape(()).to(computed)
    with torch.autocast(image_features.device.type, enabled=False):
        if tile is None:
            return _full_loss(image_features.to(computed), text_features.to(computed), scale, gather_grad, group)
        return TiledLoss.apply(image_features.to(common), text_features.to(common), scale, gather_grad, tile, group)


def _check(images: Tensor, texts: Tensor, scale: Tensor, tile: int | None) -> None:
    if images.ndim != 2 or images.shape != texts.shape or len(images) == 0:
        raise ValueError(f"features of shape {tuple(images.shape)} and {tuple(texts.shape)}: wanted (n, D) twice")
    if not (images.is_floating_point() and texts.is_floating_point()):
        raise ValueError(f"features of {images.dtype} and {texts.dtype}: wanted floating-point numbers")
    if scale.numel() != 1:
        raise ValueError(f"a scale of shape {tuple(scale.shape)}: wanted one number")
    if tile is not None and tile < 1:
        raise ValueError(f"tile={tile}: wanted 1 row at least, or None")


def _full_loss(
    images: Tensor, texts: Tensor, scale: Tensor, gather_grad: bool, group: dist.ProcessGroup | None
) -> Tensor:
    """The loss as it is defined, for a rank's own rows of both matrices: what the tiled one is measured against."""
    gathered = gather_with_gradient if gather_grad else gather
    all_images, all_texts = gathered(images, group), gathered(texts, group)
    first = ranks(group)[0] * len(images)
    places = torch.arange(first, first + len(images), device=images.device)
    of_images = functional.cross_entropy(scale * images @ all_texts.T, places)
    of_texts = functional.cross_entropy(scale * texts @ all_images.T, places)
    return mean_over_ranks((of_images + of_texts) / 2, group)
