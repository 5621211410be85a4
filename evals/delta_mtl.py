"""Delta_MTL: how much better a model is than another, averaged over tasks, in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from evals.errors import EvalError

PROTOCOL = (
    "SynthCLIP (arXiv 2402.01832), section 4.1: 100 x the mean over tasks of (m - b) / b, the sign turned where lower "
    "is better; m is the model's figure, b the baseline's. The paper's five: linear probe, few-shot, image retrieval, "
    "text retrieval (recall at 5) and zero-shot ImageNet, each a mean over its data sets."
)


@dataclass(frozen=True)
class Options:
    """The keys of the command line."""

    model: Annotated[str, "the model's figures, one a task, with commas: 75.0,84.9,61.7,77.1,30.5"]
    baseline: Annotated[str, "the baseline's figures, in the same order and unit"]
    lower_is_better: Annotated[str | None, "places (from 1) of the tasks in which lower is better, with commas"] = None


def delta_mtl(
    model: Sequence[float], baseline: Sequence[float], lower_is_better: Sequence[bool] | None = None
) -> float:
    """Return the percentage. Raises EvalError for lists of different or no length and for what cannot be divided by."""
    turned = [False] * len(model) if lower_is_better is None else lower_is_better
    if not len(model) == len(baseline) == len(turned):
        raise EvalError(f"baseline: {len(baseline)} figures for {len(model)} of the model; give one for each task")
    if len(model) == 0:
        raise EvalError("model: no figures; give one for each task")
    for name, figures in (("model", model), ("baseline", baseline)):
        if bad := [figure for figure in figures if not math.isfinite(figure)]:
            raise EvalError(f"{name}: {bad[0]} is no figure; leave the task out on both sides")
    if any(figure <= 0 for figure in baseline):
        raise EvalError("baseline: a figure is 0 or below; a gain over it has no percentage; leave the task out")
    gains = [(m - b) / b * (-1 if lower else 1) for m, b, lower in zip(model, baseline, turned, strict=True)]
    return 100 * math.fsum(gains) / len(gains)


def run(options: Options) -> dict[str, Any]:
    """Return the record. Raises EvalError."""
    model, baseline = _figures("model", options.model), _figures("baseline", options.baseline)
    value = delta_mtl(model, baseline, _turned(options.lower_is_better, len(model)))
    return {
        "task": "delta_mtl",
        "protocol": PROTOCOL,
        "metrics": {"delta_mtl_percent": value},
        "model": model,
        "baseline": baseline,
    }


def _figures(name: str, text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise EvalError(f"{name}={text}: no list of numbers; write them with commas, for example 75.0,84.9") from None


def _turned(text: str | None, num_tasks: int) -> list[bool]:
    places = set() if text is None else set(text.split(","))
    valid = {str(place) for place in range(1, num_tasks + 1)}
    if not places <= valid:
        raise EvalError(f"lower_is_better={text}: places of tasks, from 1 to {num_tasks}, with commas")
    return [str(place) in places for place in range(1, num_tasks + 1)]
