"""A small model with the outputs of open_clip's CLIP, and batches for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PIXELS = 6
WORDS = 11


class TwoTowers(nn.Module):
    """Images are (n, 6), tokens (n, 4) of 11 words, features (n, 5). The same weights each time it is made."""

    def __init__(self, *, output_dict: bool = False, dropout: float = 0.0, batch_norm: bool = False):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            norm = nn.BatchNorm1d(8) if batch_norm else nn.Identity()
            self.visual = nn.Sequential(nn.Linear(PIXELS, 8), norm, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 5))
            self.words = nn.EmbeddingBag(WORDS, 5)
        self.logit_scale = nn.Parameter(torch.tensor(1.7))
        self.output_dict = output_dict
        self.with_graph: list[bool] = []

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, ...] | dict[str, Tensor]:
        self.with_graph.append(torch.is_grad_enabled())
        features = (functional.normalize(self.visual(images), dim=1), functional.normalize(self.words(tokens), dim=1))
        if self.output_dict:
            keys = ("image_features", "text_features", "logit_scale")
            return dict(zip(keys, (*features, self.logit_scale.exp()), strict=True))
        return *features, self.logit_scale.exp()


def make_batch(count: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return images and tokens of `count` pairs, the same each time."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randn(count, PIXELS, generator=generator, dtype=dtype)
    return images, torch.randint(0, WORDS, (count, 4), generator=generator)


def unit_features(count: int, width: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return leaves that want gradients: image features, text features, and a scale of 14."""
    generator = torch.Generator().manual_seed(count)
    sides = [torch.randn(count, width, generator=generator, dtype=torch.float64) for _ in range(2)]
    leaves = [functional.normalize(side, dim=1).to(dtype) for side in sides]
    return [leaf.requires_grad_() for leaf in (*leaves, torch.tensor(14.0, dtype=dtype))]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return each parameter's gradient by its name. Raises AssertionError where there is none."""
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None for gradient in found.values()), found
    return found
