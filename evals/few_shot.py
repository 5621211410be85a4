"""Few-shot accuracy: many small tasks of nearest class centre, on features as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from evals.arrays import Arrays, Split, read_arrays
from evals.errors import EvalError

_EPISODES_AT_ONCE = 100
_LEAST_NORM = 1e-12


@dataclass(frozen=True)
class Options:
    """The keys of the command line."""

    features: Annotated[str, "FILE.npz with train_features, train_labels, test_features, test_labels"]
    episodes: Annotated[int, "number of episodes"] = 5000
    way: Annotated[int, "classes an episode"] = 5
    shot: Annotated[int, "supports a class"] = 5
    queries: Annotated[int, "queries a class, or all that a class has"] = 6
    seed: Annotated[int, "seed of the draws"] = 0


def protocol(episodes: int, way: int, shot: int, queries: int) -> str:
    """Return the protocol in words, with the numbers that are used."""
    return (
        "few-shot of lgssl (github.com/mbanani/lgssl, evaluation/fewshot.py), which SynthCLIP used: "
        f"{episodes:,} episodes of {way} classes drawn evenly, {shot} supports a class from train and up to {queries} "
        "queries a class from test, all without replacement; the mean of the supports taken off, L2-normalised, a "
        "query given to the nearest mean of a class's supports. Mean and standard deviation over episodes, seeded here."
    )


PROTOCOL = protocol(Options.episodes, Options.way, Options.shot, Options.queries)
"""That of the paper."""


def run(options: Options) -> dict[str, Any]:
    """Return the record. Raises EvalError."""
    return evaluate(read_arrays(Path(options.features).expanduser()), options)


def evaluate(arrays: Arrays, options: Options) -> dict[str, Any]:
    """Return the record of arrays that have been read; `options.features` is not looked at. Raises EvalError."""
    accuracies = episode_accuracies(arrays, options)
    return {
        "task": "few_shot",
        "protocol": protocol(options.episodes, options.way, options.shot, options.queries),
        "metrics": {
            "accuracy": float(accuracies.mean()),
            "std": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None,
        },
        "episodes": options.episodes,
        "way": options.way,
        "shot": options.shot,
        "queries": options.queries,
        "seed": options.seed,
        "num_classes": len(arrays.classes),
    }


def episode_accuracies(arrays: Arrays, options: Options) -> np.ndarray:
    """Return the share of right queries of each episode, float64 (episodes,). Raises EvalError."""
    for name in ("episodes", "way", "shot", "queries"):
        if getattr(options, name) < 1:
            raise EvalError(f"{name}={getattr(options, name)}: must be 1 or more")
    if options.seed < 0:
        raise EvalError(f"seed={options.seed}: must be 0 or more")
    if len(arrays.classes) < options.way:
        raise EvalError(f"way={options.way}: train_labels has only {len(arrays.classes)} classes")
    train, test = _ByClass(arrays, arrays.train), _ByClass(arrays, arrays.test)
    if (least := int(train.sizes.min())) < options.shot:
        poorest = arrays.classes[int(train.sizes.argmin())]
        raise EvalError(f"shot={options.shot}: class {poorest} has only {least} samples in train_labels")
    if int(test.sizes.min()) == 0:
        raise EvalError(f"test_labels: class {arrays.classes[int(test.sizes.argmin())]} has no test sample; add some")
    rng = np.random.default_rng(options.seed)
    classes = draw_distinct(rng, np.full(options.episodes, len(arrays.classes)), options.way)
    supports, _ = train.draw(rng, classes, options.shot)
    queries, there = test.draw(rng, classes, options.queries)
    accuracies = np.empty(options.episodes)
    for first in range(0, options.episodes, _EPISODES_AT_ONCE):
        part = slice(first, first + _EPISODES_AT_ONCE)
        right = _right(arrays.train.features[supports[part]], arrays.test.features[queries[part]]) & there[part]
        accuracies[part] = right.sum(axis=(1, 2)) / there[part].sum(axis=(1, 2))
    return accuracies


def draw_distinct(rng: np.random.Generator, sizes: np.ndarray, number: int) -> np.ndarray:
    """Return, for each of `sizes`, `number` different integers below it, evenly drawn: int64 (len(sizes), number).

    Where a size is below `number`, its first columns hold every integer below it and the others are 0.
    """
    drawn = np.zeros((len(sizes), number), dtype=np.int64)
    for column in range(number):
        left = sizes - column
        # The draw counts places that are still free; each smaller or equal one already taken pushes it up by one.
        place = rng.integers(0, np.maximum(left, 1))
        for taken in np.sort(drawn[:, :column], axis=1).T:
            place += place >= taken
        drawn[:, column] = np.where(left > 0, place, 0)
    return drawn


class _ByClass:
    """Where each class's samples stand in a split."""

    def __init__(self, arrays: Arrays, split: Split) -> None:
        places = arrays.places(split.labels)
        self.sizes = np.bincount(places, minlength=len(arrays.classes))
        self._order = np.argsort(places, kind="stable")
        self._starts = np.cumsum(self.sizes) - self.sizes

    def draw(self, rng: np.random.Generator, classes: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of the split (episodes, way, number), and which of them are there: small classes have fewer."""
        sizes = self.sizes[classes]
        drawn = draw_distinct(rng, sizes.reshape(-1), number).reshape(*classes.shape, number)
        there = np.arange(number) < sizes[..., None]
        return self._order[self._starts[classes][..., None] + drawn], there


def _right(supports: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return whether each query comes to its own class: (episodes, way, queries); the features' axis is last."""
    centre = supports.mean(axis=(1, 2), keepdims=True)
    means = _normalised(supports - centre).mean(axis=2)
    episodes, way, number, width = queries.shape
    points = _normalised(queries - centre).reshape(episodes, way * number, width)
    # |q - c|² less |q|², which is the same for all classes.
    distances = (means**2).sum(axis=-1)[:, None] - 2 * points @ means.transpose(0, 2, 1)
    nearest = distances.argmin(axis=-1).reshape(episodes, way, number)
    return nearest == np.arange(way)[:, None]


def _normalised(vectors: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    return vectors / np.maximum(norms, _LEAST_NORM)
