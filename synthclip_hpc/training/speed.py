"""How fast the training goes, measured between two looks at the metrics."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.training.flops import forward_flops, peak_flops
from synthclip_hpc.training.model_config import ModelConfig
from synthclip_hpc.training.ranks import Ranks
from synthclip_hpc.training.settings import precision_of

_EVERY_S = 1.0
"""On the CPU there is a look at each step; times over less than this say little."""


class Speed:
    """Counts steps and waits since it last told of them."""

    def __init__(self, train: TrainConfig, config: ModelConfig, bare: nn.Module, ranks: Ranks) -> None:
        self._batch_size, self._device = train.batch_size, ranks.device
        self._flops_per_s: float | None = None
        if ranks.device.type == "cuda":
            peak = peak_flops(torch.cuda.get_device_name(ranks.device), precision_of(train))
            self._flops_per_s = peak and peak * ranks.count
        passes = 4 if train.checkpoint_activations else 3
        self._flops = 0
        if self._flops_per_s:
            sizes = {"image_size": config.image_size, "context_length": config.context_length}
            self._flops = passes * forward_flops(bare, **sizes)
        self.start()

    def start(self) -> None:
        """Count from now on."""
        self._began, self._steps, self._waited_s = time.monotonic(), 0, 0.0

    def stepped(self, waited_s: float) -> None:
        """Count a step that waited so long for its data."""
        self._steps += 1
        self._waited_s += waited_s

    def timing(self, step: int) -> dict[str, Any] | None:
        """Return the speed since the last time, up to `step`; None while that is too short to be told."""
        took_s = time.monotonic() - self._began
        if not self._steps or took_s < _EVERY_S:
            return None
        samples_per_s = self._steps * self._batch_size / took_s
        on_gpu = self._device.type == "cuda"
        found = {
            "step": step,
            "samples_per_s": round(samples_per_s, 1),
            "data_wait_s": round(self._waited_s / self._steps, 6),
            "step_s": round(took_s / self._steps, 6),
            "memory_gb": round(torch.cuda.max_memory_allocated(self._device) / 1e9, 3) if on_gpu else None,
            "mfu": round(samples_per_s * self._flops / self._flops_per_s, 4) if self._flops_per_s else None,
        }
        self.start()
        return found
