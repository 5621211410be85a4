"""Linear probe: how well classes can be told apart by one linear layer on features as they are.

`protocol=lgssl` is what SynthCLIP reports; `sklearn` and `clip_benchmark` are others' probes, and say so in the result.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from evals.arrays import Arrays, Split, read_arrays
from evals.cost_search import search_cost
from evals.devices import find_device, is_out_of_memory
from evals.errors import EvalError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from evals.probe_scores import Scores
    from evals.softmax_regression import Fit

PROTOCOL = (
    "lgssl (github.com/mbanani/lgssl, evaluation/linear_probe.py), which SynthCLIP used: mean cross-entropy + 1/C x "
    "0.5 x |W| (not squared), bias free, fitted to the optimum, or where that is next to 0 as far as torch's L-BFGS "
    "gets by its tolerances; C by a coarse and a fine search on val (without val: on a stratified fifth of train, "
    "seed 93); refitted on train and val"
)
PROTOCOLS = {
    "lgssl": PROTOCOL,
    "sklearn": (
        "scikit-learn's LogisticRegression: C x the sum of cross-entropies + 0.5 x |W|², bias free, fitted to the "
        "optimum; C searched and refitted as by lgssl's switch for it"
    ),
    "clip_benchmark": (
        "CLIP_benchmark 1.6.2, metrics/linear_probe.py: L2-normalised features, AdamW, rate 0.1 falling by a cosine, "
        "10 epochs, batches of 64; weight decay by accuracy on val among 97 (without val: 0); trained again on train "
        "and val"
    ),
}
_HOLD_OUT_SHARE = 0.2
_HOLD_OUT_SEED = 93

Classify = Callable[["Tensor"], "Tensor"]
"""Features (num_samples, num_features) to logits (num_samples, num_classes)."""
Fitter = Callable[[float], Classify]
"""A cost, or a weight decay, to a classifier."""
Search = Callable[[Callable[[float], float]], tuple[float, dict[float, float]]]
"""A validation accuracy for each cost to the best one and all that were tried."""


@dataclass(frozen=True)
class Options:
    """The keys of the command line."""

    features: Annotated[str, "FILE.npz with {train,val,test}_{features,labels}; val may be absent"]
    protocol: Annotated[Literal["lgssl", "sklearn", "clip_benchmark"], "whose probe"] = "lgssl"
    metric: Annotated[
        Literal["top1", "mean_per_class"], "what `accuracy` and the search go by: top1 or mean_per_class"
    ] = "top1"
    device: Annotated[str, "auto, cpu, cuda or cuda:NUMBER"] = "auto"
    seed: Annotated[int, "of clip_benchmark's first weights and order; the others draw nothing"] = 0


@dataclass(frozen=True)
class Probe:
    """A finished probe. `searched` is the validation accuracy of each cost (or weight decay) tried, in order."""

    scores: Scores
    chosen: float
    searched: dict[float, float]
    num_validation: int
    held_out: bool


def run(options: Options) -> dict[str, Any]:
    """Return the record. Raises EvalError."""
    return evaluate(read_arrays(Path(options.features).expanduser()), options)


def evaluate(arrays: Arrays, options: Options) -> dict[str, Any]:
    """Return the record of arrays that have been read; `options.features` is not looked at. Raises EvalError."""
    probe = linear_probe(arrays, options)
    scores, decay = probe.scores, options.protocol == "clip_benchmark"
    return {
        "task": "linear_probe",
        "protocol": PROTOCOLS[options.protocol],
        "variant": options.protocol,
        "metrics": {
            "accuracy": scores.chosen(options.metric),
            "acc1": scores.acc1,
            "acc5": scores.acc5,
            "mean_per_class_recall": scores.mean_per_class_recall,
        },
        "accuracy_is": options.metric,
        "chosen_cost": None if decay else probe.chosen,
        "chosen_weight_decay": probe.chosen if decay else None,
        "validation_accuracy": {str(value): accuracy for value, accuracy in probe.searched.items()},
        "validation": {"samples": probe.num_validation, "held_out": probe.held_out},
        "samples": {"train": len(arrays.train.labels), "test": len(arrays.test.labels)},
        "num_classes": len(arrays.classes),
    }


def linear_probe(arrays: Arrays, options: Options) -> Probe:
    """Search on val, fit on train and val, measure on test. Raises EvalError, also where memory is too small."""
    device = find_device(options.device)
    try:
        return _searched(arrays, options, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        samples, width = arrays.train.features.shape
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EvalError(
            f"device={options.device}: out of memory on {device} with a linear probe of {samples:,} training samples, "
            f"{width:,} features and {len(arrays.classes):,} classes ({reason}); give a device with more memory, or "
            "device=cpu on a machine with more"
        ) from error


def _searched(arrays: Arrays, options: Options, device: torch.device) -> Probe:
    import torch

    from evals.probe_scores import measure

    num_classes = len(arrays.classes)

    def tensors(split: Split) -> tuple[Tensor, Tensor]:
        labels = torch.from_numpy(arrays.places(split.labels))
        return torch.from_numpy(split.features).to(device), labels.to(device)

    train, val = arrays.train, arrays.val
    held_out = val is None and options.protocol != "clip_benchmark"
    if held_out:
        train, val = hold_out(train)
    trainer, search = _probe_kind(options, num_classes)
    chosen = 0.0
    searched: dict[float, float] = {}
    if val is not None:
        fit, (val_features, val_labels) = trainer(*tensors(train)), tensors(val)

        def score(value: float) -> float:
            found = measure(fit(value)(val_features), val_labels, num_classes)
            return found.acc1 if options.protocol == "clip_benchmark" else found.chosen(options.metric)

        chosen, searched = search(score)
        train = Split(np.concatenate([train.features, val.features]), np.concatenate([train.labels, val.labels]))
    test_features, test_labels = tensors(arrays.test)
    scores = measure(trainer(*tensors(train))(chosen)(test_features), test_labels, num_classes)
    return Probe(scores, chosen, searched, 0 if val is None else len(val.labels), held_out)


def hold_out(split: Split) -> tuple[Split, Split]:
    """Return (train, val): of each class a fifth, rounded down, goes to val; lgssl's choice of samples, seed 93.

    Raises EvalError when no class has 5 samples.
    """
    kept: list[int] = []
    held: list[int] = []
    for label in np.unique(split.labels):
        rows = np.flatnonzero(split.labels == label).tolist()
        random.Random(_HOLD_OUT_SEED).shuffle(rows)
        number = int(len(rows) * _HOLD_OUT_SHARE)
        held += rows[:number]
        kept += rows[number:]
    if not held:
        raise EvalError(
            "train_labels: no class has 5 samples, so none can be held out; give val_features and val_labels"
        )
    return Split(split.features[kept], split.labels[kept]), Split(split.features[held], split.labels[held])


def _probe_kind(options: Options, num_classes: int) -> tuple[Callable[[Tensor, Tensor], Fitter], Search]:
    """Return what makes a training set into probes of one value each, and how that value is searched."""
    if options.protocol == "clip_benchmark":
        from evals.adamw_probe import AdamWProbe, search_decay

        probe = AdamWProbe(num_classes, options.seed)
        return (lambda features, labels: lambda decay: probe.train(features, labels, decay)), search_decay

    from evals.softmax_regression import Penalty, SoftmaxRegression
    from evals.tolerant_fit import BINDING_OBJECTIVE, fit_to_tolerance

    optima: dict[float, Fit] = {}
    bound: set[float] = set()

    def trainer(features: Tensor, labels: Tensor) -> Fitter:
        regression = SoftmaxRegression(features, labels, num_classes)

        def fit(cost: float) -> Classify:
            if options.protocol == "sklearn":
                penalty = Penalty(1 / (cost * len(labels)), squared=True)
            else:
                penalty = Penalty(0.5 / cost, squared=False)
            # The optimum falls as the cost rises: above a cost at which tolerances bind they do as well.
            if not any(cost >= known for known in bound):
                # The nearest optimum is a good place to start from, be it of another cost or of train without val.
                near = min(optima, key=lambda known: abs(math.log(known / cost)), default=None)
                optima[cost] = regression.fit(penalty, None if near is None else optima[near])
                if options.protocol == "sklearn" or optima[cost].objective >= BINDING_OBJECTIVE:
                    return optima[cost].logits
                bound.add(cost)
            return fit_to_tolerance(features, labels, num_classes, penalty).logits

        return fit

    return trainer, search_cost
