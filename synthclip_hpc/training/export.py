"""The trained model as a folder that open_clip loads: `create_model_and_transforms("local-dir:FOLDER")`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sharding.canonical import canonical_json
from sharding.files import make_directory, replace_file
from synthclip_hpc.training.init_weights import CONFIG_FILE, WEIGHTS_FILE
from synthclip_hpc.training.model_config import ModelConfig

if TYPE_CHECKING:
    import torch


def export_open_clip(
    folder: Path,
    model: ModelConfig,
    state_dict: Mapping[str, torch.Tensor],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: str,
    image_size: int,
) -> None:
    """Write `open_clip_model.safetensors` and `open_clip_config.json` into `folder`; equal weights, equal bytes.

    `state_dict` is that of the bare model (no `module.` or `_orig_mod.` before its names), in any memory layout, on any
    device; of tensors that share memory each is written. The configuration tells open_clip's evaluation transform:
    resize of the shorter side to `image_size` pixels, centre crop, and `mean` and `std` of pixels in 0 … 1.

    Each file appears whole, the weights first. Raises ValueError when `image_size` is not the model's: open_clip would
    resize to the model's own; or when names have a wrapper's prefix.
    """
    if image_size != model.image_size:
        raise ValueError(f"images of {image_size} px, but the model {model.name} has {model.image_size} px")
    weights = weights_bytes(state_dict)
    config = {
        "model_cfg": model.config,
        "preprocess_cfg": {
            "size": image_size,
            "mean": list(mean),
            "std": list(std),
            "interpolation": interpolation,
            "resize_mode": "shortest",
        },
    }
    make_directory(folder)
    replace_file(folder / WEIGHTS_FILE, weights)
    replace_file(folder / CONFIG_FILE, canonical_json(config))


def weights_bytes(state_dict: Mapping[str, torch.Tensor]) -> bytes:
    """Return the content of a `.safetensors` file with these weights; equal weights, equal bytes.

    Raises ValueError when names have a wrapper's prefix.
    """
    from safetensors.torch import save

    if wrapped := [name for name in state_dict if name.startswith(("module.", "_orig_mod."))]:
        raise ValueError(f"{wrapped[0]}: a wrapper's name; export the state_dict of the bare model")
    return save({name: _plain(state_dict[name]) for name in sorted(state_dict)})


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy with memory of its own, in the usual layout: safetensors takes no other."""
    import torch

    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
