"""One optimiser step of one rank, on its device: nothing in it waits for the device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sharding.ids import derive
from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.training.accumulation import forward_backward
from synthclip_hpc.training.gradients import Gradients
from synthclip_hpc.training.loss import contrastive_loss
from synthclip_hpc.training.loss_choice import chosen_tile
from synthclip_hpc.training.normalization import PIXEL_STATISTICS
from synthclip_hpc.training.ranks import Ranks
from synthclip_hpc.training.recipe import clamp_logit_scale, make_optimizer
from synthclip_hpc.training.schedule import Schedule
from synthclip_hpc.training.settings import precision_of

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Scalars(NamedTuple):
    """What a step tells, each a tensor with one number on the device."""

    loss: Tensor
    """Of the whole batch."""
    logit_scale: Tensor
    """The factor itself, after the step."""
    grad_norm: Tensor
    """Before clipping."""
    bad: Tensor
    """1 from the first step on whose loss or gradients were not finite: since then nothing has changed."""


class Step:
    """The model of one rank, its optimiser, and how they take a step."""

    def __init__(
        self,
        train: TrainConfig,
        seed: int,
        model: nn.Module,
        bare: nn.Module,
        schedule: Schedule,
        ranks: Ranks,
    ) -> None:
        """`model` is what is called, compiled or not; `bare` is open_clip's model itself."""
        self.bare = bare
        self._model, self._train, self._schedule, self._device = model, train, schedule, ranks.device
        self._seed, self._rank = seed, ranks.rank
        device = ranks.device
        self._gradients = Gradients([one for one in bare.parameters() if one.requires_grad], ranks.count)
        self._optimizer = make_optimizer(bare, train)
        precision = precision_of(train)
        self._autocast = partial(torch.autocast, device.type, _DTYPES[precision]) if precision in _DTYPES else None
        self._scaler = torch.amp.GradScaler(device.type) if precision == "float16" else None  # type: ignore[attr-defined]
        self._loss = partial(
            contrastive_loss, gather_grad=train.gather_grad, tile=chosen_tile(train.loss, train.loss_tile)
        )
        pixels = PIXEL_STATISTICS[train.normalize]
        self._mean = torch.tensor(pixels.mean, device=device).mul_(255).view(1, 3, 1, 1)
        self._std = torch.tensor(pixels.std, device=device).mul_(255).view(1, 3, 1, 1)
        self._bad = torch.zeros((), device=device)
        # Statistics of batch norms change in the forward pass already; what they were comes back after a bad step.
        state = bare.state_dict(keep_vars=True)
        self._buffers = [one for name, one in bare.named_buffers() if name in state]
        self._kept = [buffer.clone() for buffer in self._buffers]

    def __call__(self, step: int, images: Tensor, tokens: Tensor) -> Scalars:
        """Take step `step` (from 0 on): uint8 images [n, 3, S, S] and int64 tokens [n, L], this rank's share."""
        # The state of the generator is a function of the step, so that no checkpoint needs it.
        self._seed_generators(derive(self._seed, step, f"train/step/{self._rank}"))
        self._gradients.begin()
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.lr(step)
        loss = forward_backward(
            self._model,
            self._micro_batches(images, tokens),
            self._loss,
            no_sync=self._gradients.held,
            autocast=self._autocast or nullcontext,
            scaled=None if self._scaler is None else self._scaler.scale,
        )
        norm = self._update(loss)
        clamp_logit_scale(self.bare)
        return Scalars(loss, self.bare.logit_scale.detach().exp(), norm, self._bad)

    def state(self) -> dict[str, Any]:
        """Return all that changes: weights, optimiser, loss scale. Not a copy."""
        return {
            "model": self.bare.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": {} if self._scaler is None else self._scaler.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, in this process or another."""
        self.bare.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            kept.copy_(buffer)

    def _seed_generators(self, seed: int) -> None:
        # Not torch.manual_seed: it formats a stack trace for each kind of device that is not there.
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _micro_batches(self, images: Tensor, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        layout = torch.channels_last if self._train.channels_last else torch.contiguous_format
        pixels = images.to(self._device, non_blocking=True).to(torch.float32, memory_format=layout)
        pixels.sub_(self._mean).div_(self._std)
        ids = tokens.to(self._device, non_blocking=True)
        size = len(ids) // self._train.accumulate
        return list(zip(pixels.split(size), ids.split(size), strict=True))

    def _update(self, loss: Tensor) -> Tensor:
        """Change the weights unless something is not finite; return the norm of the gradients."""
        self._gradients.finish()
        if self._scaler is not None:
            # The scaler makes its own switch of what it finds in the gradients: NaN keeps it off behind a bad step.
            self._bad = torch.maximum(self._bad, (~torch.isfinite(loss)).to(torch.float32))
            self._gradients.scale(torch.where(self._bad > 0, torch.nan, 1.0))
            self._scaler.unscale_(self._optimizer)
        norm = self._gradients.norm()
        if self._train.grad_clip:
            self._gradients.scale(torch.clamp(self._train.grad_clip / (norm + 1e-6), max=1.0))
        # With loss scaling gradients overflow now and then, which the scaler answers; then the loss alone counts.
        if self._scaler is None:
            finite = torch.isfinite(loss) & torch.isfinite(norm)
            self._bad = torch.maximum(self._bad, (~finite).to(torch.float32))
            # The optimiser's own switch: where it is 1, the step changes nothing. No look from here is needed for it.
            self._optimizer.found_inf = self._bad  # type: ignore[attr-defined]
            self._optimizer.step()
        else:
            one = torch.ones((), device=self._device)
            before = self._scaler.scale(one)
            self._scaler.step(self._optimizer)
            self._scaler.update()
            self._scaler.update(torch.where(self._bad > 0, before, self._scaler.scale(one)))
        with torch.no_grad():
            for kept, buffer in zip(self._kept, self._buffers, strict=True):
                buffer.copy_(torch.where(self._bad > 0, kept, buffer))
                kept.copy_(buffer)
        return norm
