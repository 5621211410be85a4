"""Zero-shot retrieval: images by captions and captions by images, recall at 1, 5 and 10.

The paper's tables have R@5. An image may have several captions; a caption belongs to one image. Captions are taken
as they are, without a template.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evals.errors import EvalError
from evals.features import Floats, image_features, text_features
from evals.settings import ModelAndData, described

if TYPE_CHECKING:
    import torch

PROTOCOL = (
    "CLIP_benchmark 1.6.2 zeroshot_retrieval: cosine; image_retrieval_recall@k = share of captions whose image is among"
    " the k nearest images; text_retrieval_recall@k = share of images with any of their captions among the k nearest"
)
RECALL_AT = (1, 5, 10)
_BLOCK_SCORES = 1 << 24
"""Scores in memory at a time: 64 MiB."""


@dataclass(frozen=True, kw_only=True)
class Options(ModelAndData):
    """What the task takes."""


@dataclass(frozen=True)
class Retrieval:
    """Metrics are fractions by their names."""

    metrics: dict[str, float]
    ties: dict[str, int]
    """Queries for which a wrong item has exactly the score of the best right one: equal captions give them."""


def measure(images: Floats, texts: Floats, image_of: npt.NDArray[np.int64], at: Sequence[int] = RECALL_AT) -> Retrieval:
    """Return recalls of image features [n, width] and text features [m, width], neither normalised.

    `image_of` [m] is the row of each text's image. A k above the number of items counts all of them as found. The
    scores are never all in memory. Among equal scores torch.topk chooses, as in CLIP_benchmark.
    """
    import torch
    from torch.nn import functional

    pictures = functional.normalize(torch.from_numpy(images), dim=-1)
    captions = functional.normalize(torch.from_numpy(texts), dim=-1)
    owner = torch.from_numpy(image_of)
    numbers = torch.arange(len(pictures))
    directions = {
        "image": _queries(captions, pictures, owner, numbers, at),
        "text": _queries(pictures, captions, numbers, owner, at),
    }
    metrics: dict[str, float] = {}
    ties: dict[str, int] = {}
    for name, (hits, tied) in directions.items():
        metrics |= {f"{name}_retrieval_recall@{k}": float(hits[k]) for k in at}
        ties[f"{name}_retrieval"] = tied
    return Retrieval(metrics, ties)


def _queries(
    queries: torch.Tensor, items: torch.Tensor, asked: torch.Tensor, owners: torch.Tensor, at: Sequence[int]
) -> tuple[dict[int, float], int]:
    """Return, for each k, the share of queries with an item of their own among the best k, and the number of ties.

    `asked` [queries] and `owners` [items] are images: an item is right when both are the same.
    """
    hits = dict.fromkeys(at, 0)
    tied = 0
    for start, stop in _blocks(len(queries), len(items)):
        scores = queries[start:stop] @ items.T
        wanted = asked[start:stop, None]
        for k in at:
            best = scores.topk(min(k, len(items)), dim=1).indices
            hits[k] += int((owners[best] == wanted).any(dim=1).sum())
        right = owners[None, :] == wanted
        best_right = scores.masked_fill(~right, float("-inf")).amax(dim=1, keepdim=True)
        tied += int(((scores == best_right) & ~right).any(dim=1).sum())
    return {k: count / len(queries) for k, count in hits.items()}, tied


def _blocks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    size = max(1, _BLOCK_SCORES // columns)
    return ((start, min(start + size, rows)) for start in range(0, rows, size))


def run(options: Options) -> dict[str, Any]:
    """Measure a model on a data set of images with captions; return the result. Raises EvalError."""
    model, folder, split = options.opened()
    captions = split.captions
    texts = [caption for one in captions for caption in one]
    image_of = np.array([number for row, one in enumerate(captions) for number in repeat(row, len(one))], np.int64)
    if not any(text.strip() for text in texts):
        raise EvalError(f"data={options.data}: all captions are empty; prepare the data set anew")
    how = options.extraction()
    images = image_features(model, split, ("post",), how)["post"]
    found = measure(images, text_features(model, texts, how), image_of)
    return {
        "task": Path(__file__).stem,
        "protocol": PROTOCOL,
        "metrics": found.metrics,
        "captions": len(texts),
        "queries_with_ties": found.ties,
        **described(options, model, folder, split, how),
    }
