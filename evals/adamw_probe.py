"""CLIP_benchmark's linear probe: AdamW for ten epochs, and a search for its weight decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LEARNING_RATE = 0.1
EPOCHS = 10
BATCH_SIZE = 64
DECAYS = tuple(10 ** (-6 + 8 * place / 96) for place in range(97))
"""97 weight decays, evenly spaced in the logarithm from 1e-6 to 100."""


@dataclass(frozen=True)
class AdamWProbe:
    """How a probe is trained; CLIP_benchmark's defaults."""

    num_classes: int
    seed: int = 0
    epochs: int = EPOCHS

    def train(self, features: Tensor, labels: Tensor, weight_decay: float) -> Callable[[Tensor], Tensor]:
        """Return what maps features (num_samples, num_features) to logits (num_samples, num_classes).

        Features are L2-normalised here, in training and after. The rate falls by a cosine from LEARNING_RATE to 0,
        step by step; weights begin as torch.nn.Linear's, the order of samples is new in each epoch, both from `seed`.
        """
        samples = functional.normalize(features, dim=-1)
        random = torch.Generator().manual_seed(self.seed)
        bound = 1 / math.sqrt(samples.shape[1])
        weight, bias = (
            torch.empty(shape).uniform_(-bound, bound, generator=random).to(features.device).requires_grad_()
            for shape in ((self.num_classes, samples.shape[1]), (self.num_classes,))
        )
        optimizer = torch.optim.AdamW([weight, bias], lr=LEARNING_RATE, weight_decay=weight_decay)
        num_steps = self.epochs * math.ceil(len(samples) / BATCH_SIZE)
        step = 0
        for _ in range(self.epochs):
            order = torch.randperm(len(samples), generator=random).to(features.device)
            for rows in order.split(BATCH_SIZE):
                optimizer.param_groups[0]["lr"] = 0.5 * (1 + math.cos(math.pi * step / num_steps)) * LEARNING_RATE
                optimizer.zero_grad()
                functional.cross_entropy(functional.linear(samples[rows], weight, bias), labels[rows]).backward()
                optimizer.step()
                step += 1
        final_weight, final_bias = weight.detach(), bias.detach()
        return lambda given: functional.linear(functional.normalize(given, dim=-1), final_weight, final_bias)


def search_decay(score: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """Return the best of DECAYS and the accuracy of each one tried; `score(decay)` is that on the validation set.

    Seven decays, 16 places apart; then the best one's neighbours 8, 4, 2 and 1 places off. The first of equals wins.
    """
    tried: dict[float, float] = {}

    def best(places: Sequence[int]) -> int:
        for place in places:
            if DECAYS[place] not in tried:
                tried[DECAYS[place]] = score(DECAYS[place])
        return max(places, key=lambda place: tried[DECAYS[place]])

    peak = best(range(0, len(DECAYS), 16))
    for step in (8, 4, 2, 1):
        peak = best([max(peak - step, 0), peak, min(peak + step, len(DECAYS) - 1)])
    return DECAYS[peak], tried
