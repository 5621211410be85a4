"""Work of the model and power of the GPU: what the share of the peak that a training reaches is computed from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

# Of a kind of GPU, by what its name matches: the more special name first. FLOP/s of dense matrix products, without
# sparsity, as the makers' data sheets tell them; float32 without TF32, which torch leaves off unless it is told.
_PEAKS: Mapping[str, Mapping[str, float]] = {
    r"B200": {"bfloat16": 2250e12, "float16": 2250e12, "float32": 75e12},
    r"H200 NVL": {"bfloat16": 835e12, "float16": 835e12, "float32": 60e12},
    r"GH200|H200": {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12},
    r"H100 PCIe": {"bfloat16": 756e12, "float16": 756e12, "float32": 51e12},
    r"H100 NVL": {"bfloat16": 835e12, "float16": 835e12, "float32": 60e12},
    r"H100": {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12},
    r"A100": {"bfloat16": 312e12, "float16": 312e12, "float32": 19.5e12},
    r"A40": {"bfloat16": 149.7e12, "float16": 149.7e12, "float32": 37.4e12},
    r"A30": {"bfloat16": 165e12, "float16": 165e12, "float32": 10.3e12},
    r"L40S": {"bfloat16": 362e12, "float16": 362e12, "float32": 91.6e12},
    r"L4": {"bfloat16": 121e12, "float16": 121e12, "float32": 30.3e12},
    r"V100-PCIE": {"float16": 112e12, "float32": 14e12},
    r"V100": {"float16": 125e12, "float32": 15.7e12},
    r"T4": {"float16": 65e12, "float32": 8.1e12},
}


def forward_flops(module: nn.Module, *, image_size: int, context_length: int) -> int:
    """Return the floating-point operations of one image and its caption forward; a multiply-add counts as two.

    `module` takes images [1, 3, S, S] and tokens [1, L]. Counted are matrix products and convolutions; nothing is
    computed, and `module` stays as it is, statistics of batch norm included. A training step costs three times as much
    (backward is two forwards), four times with checkpoint_activations.
    """
    import torch
    from torch.func import functional_call
    from torch.utils.flop_counter import FlopCounterMode

    # Tensors without data: attention does not take its fused paths there, some of which the counter does not know.
    shapes = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    images = torch.empty(1, 3, image_size, image_size, device="meta")
    tokens = torch.zeros(1, context_length, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        functional_call(module, shapes, (images, tokens))
    return int(counter.get_total_flops())


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return a GPU's dense FLOP/s in `bfloat16`, `float16` or `float32`; None where it is unknown or cannot do it.

    `device_name` is what torch.cuda.get_device_name tells, e.g. `NVIDIA H100 80GB HBM3`. Of a part of a GPU (MIG)
    it is unknown.
    """
    if " MIG " in device_name:
        return None
    for pattern, peaks in _PEAKS.items():
        if re.search(rf"\b(?:{pattern})(?![0-9A-Za-z])", device_name):
            return peaks.get(precision)
    return None
