"""The model that is trained: an open_clip model with our configuration, the same weights on every rank.

The built-in `synthclip-vit-b-16` is the paper's architecture, 149,619,969 parameters. Its text tower, both projections
and the logit scale are drawn as the paper's code draws them; the image tower is drawn by the installed timm: truncated
normals of 0.02, and N(0, 1e-6) for the class token.

`synthclip-vit-s-16` is no model of the paper's. open_clip can give timm's small tower no other number of heads than 6,
so that it is open_clip's own tower with 12 heads, and its own initialisation. In place of QuickGELU the text tower has
the exact GELU, like the image tower; the patch embedding has no bias; the class token is a vector, so not decayed.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from sharding.ids import derive
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.init_weights import InitWeights, find_init, load_init
from synthclip_hpc.training.model_config import ModelConfig, find_model_config

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["InitWeights", "ModelConfig", "build_model", "find_init", "find_model_config"]


def build_model(
    config: ModelConfig,
    *,
    seed: int,
    device: torch.device | str,
    init: InitWeights | None = None,
    checkpoint_activations: bool = False,
) -> nn.Module:
    """Return the model in float32, in training mode, on `device`.

    `module(images, tokens)` takes float [n, 3, S, S] and int64 [n, L]; it returns L2-normalised float [n, embed_dim]
    twice, and the exponential of the logit scale, which begins at 1 / 0.07.

    Weights are drawn on the CPU from `seed` alone and then moved: neither the device nor the number of ranks counts,
    and no random generator of the process changes. With `init` they are replaced. `checkpoint_activations` concerns
    transformers and timm's towers; open_clip's ResNet keeps its activations.

    Raises UserError when open_clip cannot build the configuration, or `init` does not fit it.
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # Not torch.manual_seed: it would set the generators of the GPUs as well.
        torch.default_generator.manual_seed(derive(seed, 0, "train/init"))
        module = _construct(config)
        _draw_projection(module)
    if init is not None:
        load_init(module, init)
    if checkpoint_activations:
        module.set_grad_checkpointing(True)  # type: ignore[operator]
    return module.to(device)


def _construct(config: ModelConfig) -> nn.Module:
    import open_clip

    arguments: dict[str, Any] = deepcopy(config.config)
    kind = open_clip.CustomTextCLIP if arguments.pop("custom_text", False) else open_clip.CLIP
    # Weights come from `init` alone; nothing is fetched on a compute node.
    arguments["vision_cfg"]["timm_model_pretrained"] = False
    try:
        module: nn.Module = kind(**arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError) as error:
        raise UserError(
            f"train.model={config.name}: open_clip cannot build this configuration: {error!r}; mend the JSON file "
            "(open_clip's own model_configs/*.json are examples)"
        ) from error
    _refuse_other_size(module, config)
    return module


def _refuse_other_size(module: nn.Module, config: ModelConfig) -> None:
    """open_clip does not tell timm the image size; a tower that takes one size only would fail in the first step."""
    patches = getattr(getattr(module.visual, "trunk", None), "patch_embed", None)
    size = getattr(patches, "img_size", None)
    if getattr(patches, "strict_img_size", False) and size is not None and tuple(size) != (config.image_size,) * 2:
        raise UserError(
            f"train.model={config.name}: vision_cfg.image_size is {config.image_size}, and timm's "
            f"{config.config['vision_cfg']['timm_model_name']} takes {size[0]} alone; change the one or the other"
        )


def _draw_projection(module: nn.Module) -> None:
    """Draw the linear projection behind a timm tower as the paper's code does, N(0, 1 / width).

    open_clip leaves torch's default there, which is smaller by the root of three.
    """
    from torch import nn

    projection = getattr(getattr(module.visual, "head", None), "proj", None)
    if isinstance(projection, nn.Linear):
        nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
