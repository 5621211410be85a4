"""The linear probe and few-shot beside plain re-statements of lgssl's loops, on the same features and threads.

The plain probe is torch's L-BFGS on the features as they are, from zero weights for each cost, as the protocol has it;
the search over costs is the same for both. Features are drawn: classes around their centres, noise whose variance falls
along the axes as in features of images, all of it turned and moved off the origin. At any number of features the
classes overlap as much: the probe is right about as often as the paper's are on its data sets. Ratios are of processor
seconds, because the machine has other work to do.

Run as a module, with train samples, features and classes, it prints one comparison as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from evals.arrays import Arrays, check_arrays
from evals.cost_search import search_cost
from evals.few_shot import Options as FewShotOptions
from evals.few_shot import episode_accuracies
from evals.linear_probe import Options, linear_probe
from tests.benchmarks.measure import Result, environment, run_process

SIZE = (50_000, 768, 100)
SPEED_FLOOR = 1.5
ACCURACY_FLOOR = 0.003
FEW_SHOT_FLOOR = 0.004
FEW_SHOT_SECONDS = 20.0
MAX_ITERATIONS = 1000


def measure(folder: Path) -> list[Result]:
    words = [sys.executable, "-m", "tests.benchmarks.probes", *map(str, SIZE)]
    return rows(json.loads(run_process(words, folder, environment()).output))


def rows(found: dict[str, Any]) -> list[Result]:
    """The table of one comparison."""
    ours, plain, few = found["ours"], found["plain"], found["few_shot"]
    ratio = plain["cpu_s"] / ours["cpu_s"]
    # The plain loop's own accuracies decide how many validation images lie between the two costs.
    images = round((plain["val_accuracy"] - found["plain_val_accuracy_at_our_cost"]) * found["num_val"])
    costs = f"{ours['cost']:.6g} and {plain['cost']:.6g}, {images} validation images apart"
    minutes = ours["wall_s"] / 60
    beside = f"{ratio:.1f}x; {minutes:.2f} min, the plain loop {plain['wall_s'] / 60:.2f} ({found['threads']} threads)"
    gap = abs(ours["accuracy"] - plain["accuracy"])
    few_gap = abs(few["mean"] - few["plain_mean"])
    return [
        Result("linear probe over the plain loop", beside, f">= {SPEED_FLOOR}x", ratio >= SPEED_FLOOR),
        Result("linear probe, costs", costs, "same, or <= 1 image", abs(images) <= 1),
        Result("linear probe, accuracy", _two(ours["accuracy"], plain["accuracy"]), "<= 0.3", gap <= ACCURACY_FLOOR),
        Result("few-shot, 5,000 episodes", f"{few['wall_s']:.1f} s", "< 20 s", few["wall_s"] < FEW_SHOT_SECONDS),
        Result("few-shot, mean", _two(few["mean"], few["plain_mean"]), "<= 0.4", few_gap <= FEW_SHOT_FLOOR),
    ]


def _two(one: float, other: float) -> str:
    return f"{100 * one:.2f} % and {100 * other:.2f} %"


def compare(num_train: int, num_features: int, num_classes: int) -> dict[str, Any]:
    """Carry both out; val and test are a fifth of train each."""
    import torch

    arrays = draw(num_train, num_features, num_classes)
    val = arrays.val
    assert val is not None
    ours, our_seconds = _timed(lambda: linear_probe(arrays, Options(features="", device="cpu")))
    plain = _Plain(arrays)
    (cost, tried, accuracy), plain_seconds = _timed(plain.search_and_test)
    few_shot = FewShotOptions(features="")
    episodes, few_seconds = _timed(lambda: episode_accuracies(arrays, few_shot))
    return {
        "threads": torch.get_num_threads(),
        "num_val": len(val.labels),
        "ours": {"cost": ours.chosen, "accuracy": ours.scores.acc1, **our_seconds},
        "plain": {"cost": cost, "val_accuracy": tried[cost], "accuracy": accuracy, **plain_seconds},
        "plain_val_accuracy_at_our_cost": tried[ours.chosen] if ours.chosen in tried else plain.score(ours.chosen),
        "few_shot": {
            "mean": float(episodes.mean()),
            "plain_mean": plain_few_shot(arrays, few_shot),
            **few_seconds,
        },
    }


def draw(num_train: int, num_features: int, num_classes: int) -> Arrays:
    """Return arrays of classes that overlap."""
    rng = np.random.default_rng(0)
    scales = np.arange(1, num_features + 1, dtype=np.float32) ** -0.5
    centres = 4 / num_features**0.5 * scales * rng.standard_normal((num_classes, num_features), dtype=np.float32)
    turn = np.linalg.qr(rng.standard_normal((num_features, num_features)))[0].astype(np.float32)
    away = rng.standard_normal(num_features, dtype=np.float32)
    found: dict[str, np.ndarray] = {}
    for name, number in (("train", num_train), ("val", num_train // 5), ("test", num_train // 5)):
        labels = rng.integers(0, num_classes, number)
        noise = scales * rng.standard_normal((number, num_features), dtype=np.float32)
        found |= {f"{name}_features": 4 * (centres[labels] + noise) @ turn + away, f"{name}_labels": labels}
    return check_arrays(found)


class _Plain:
    """lgssl's probe, from the protocol's text."""

    def __init__(self, arrays: Arrays) -> None:
        import torch

        splits = (arrays.train, arrays.val, arrays.test)
        self.train, self.val, self.test = (
            (torch.from_numpy(split.features), torch.from_numpy(split.labels)) for split in splits if split is not None
        )
        self.num_classes = len(arrays.classes)

    def fit(self, features: Any, labels: Any, cost: float) -> tuple[Any, Any]:
        import torch

        weight = torch.zeros(self.num_classes, features.shape[1], requires_grad=True)
        bias = torch.zeros(self.num_classes, requires_grad=True)
        method = torch.optim.LBFGS([weight, bias], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe")

        def closure() -> Any:
            method.zero_grad()
            loss = torch.nn.functional.cross_entropy(torch.nn.functional.linear(features, weight, bias), labels)
            loss = loss + 1 / cost * (0.5 * weight.norm())
            loss.backward()
            return loss

        method.step(closure)
        return weight.detach(), bias.detach()

    def score(self, cost: float) -> float:
        return self._accuracy(self.fit(*self.train, cost), self.val)

    def search_and_test(self) -> tuple[float, dict[float, float], float]:
        import torch

        cost, tried = search_cost(self.score)
        features, labels = (torch.cat(pair) for pair in zip(self.train, self.val, strict=True))
        return cost, tried, self._accuracy(self.fit(features, labels, cost), self.test)

    def _accuracy(self, layer: tuple[Any, Any], split: tuple[Any, Any]) -> float:
        features, labels = split
        return float(((features @ layer[0].T + layer[1]).argmax(1) == labels).double().mean())


def plain_few_shot(arrays: Arrays, options: FewShotOptions) -> float:
    """Return the mean accuracy of episodes drawn and judged one after the other."""
    rng = np.random.default_rng(options.seed + 1)
    train = [np.flatnonzero(arrays.train.labels == one) for one in arrays.classes]
    test = [np.flatnonzero(arrays.test.labels == one) for one in arrays.classes]
    accuracies = []
    for _ in range(options.episodes):
        chosen = rng.permutation(len(train))[: options.way]
        supports = [arrays.train.features[rng.choice(train[one], options.shot, replace=False)] for one in chosen]
        centre = np.concatenate(supports).mean(axis=0)
        means = np.stack([_unit(one - centre).mean(axis=0) for one in supports])
        right = []
        for place, one in enumerate(chosen):
            rows = rng.choice(test[one], min(options.queries, len(test[one])), replace=False)
            queries = _unit(arrays.test.features[rows] - centre)
            right += [int(np.linalg.norm(means - query, axis=1).argmin()) == place for query in queries]
        accuracies.append(np.mean(right))
    return float(np.mean(accuracies))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _timed(act: Any) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = act()
    return found, {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


if __name__ == "__main__":
    print(json.dumps(compare(*map(int, sys.argv[1:]))), flush=True)
