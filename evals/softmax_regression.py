"""Softmax regression to the optimum: mean cross-entropy plus a penalty on the weights, the bias free of it.

The problem is convex, so where one starts and which way one goes decide the time and not the result. Three things save
time over L-BFGS on the features as they are (as in lgssl's `logistic_regression.py`):

- the features are centred and turned into their principal axes, which changes neither the penalty nor the predictions;
  there a diagonal matrix comes near the Hessian, and tens of iterations do what took hundreds;
- logits are linear in the weights, so a line search costs no matrix product: two products an iteration in all;
- a fit can start from the weights found for a neighbouring cost.

Products are float32, sums over samples and all of the method's vectors float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from evals.lbfgs import Memory, dot, search_line

MAX_ITERATIONS = 1000
_RELATIVE_GAP = 1e-7
_ABSOLUTE_GAP = 1e-9
"""A fit ends when what is left to gain is estimated to be below either."""
_MEMORY = 20
_LEAST_VARIANCE = 1e-7
"""Of the largest: axes with less are as good as constant, and their variance is no more than rounding."""
_LEAST_CURVATURE = 1e-12


@dataclass(frozen=True)
class Penalty:
    """`strength` times |W| (`squared` False: lgssl), or times 0.5 |W|² (`squared` True: scikit-learn)."""

    strength: float
    squared: bool

    def value(self, square: float) -> float:
        """The penalty of weights whose sum of squares is `square`."""
        return self.strength * (0.5 * square if self.squared else math.sqrt(square))

    def pull(self, square: float) -> float:
        """The factor of W in the penalty's gradient; for |W|, `square` must be above 0."""
        return self.strength if self.squared else self.strength / math.sqrt(square)

    def rise_from_nothing(self, square: float) -> float:
        """The slope of the penalty at W = 0 along a direction of sum of squares `square`: |W| has a kink."""
        return 0.0 if self.squared else self.strength * math.sqrt(square)

    def holds_at_nothing(self, gradient: Tensor) -> bool:
        """Whether W = 0 is the optimum, given the gradient of the loss there (the bias, its last row, at its best)."""
        return not self.squared and float(gradient[:-1].norm()) <= self.strength


@dataclass(frozen=True)
class Fit:
    """Weights (num_classes, num_features) and bias (num_classes,) for features as given, float64; and how they came."""

    weights: Tensor
    bias: Tensor
    objective: float
    num_iterations: int

    def logits(self, features: Tensor) -> Tensor:
        """Return float32 logits (num_samples, num_classes) of float32 features (num_samples, num_features)."""
        # In float64 the bias, which takes the features' mean back, cannot swallow digits of small weights.
        scores = [block.double() @ self.weights.T + self.bias for block in features.split(8192)]
        return torch.cat(scores).float()


@dataclass(frozen=True)
class _Point:
    """Where a fit stands. `theta` (num_features + 1, num_classes) has the bias last; `gradient` is its counterpart.

    At W = 0 the gradient is that of the loss alone. `curvature` (num_classes,) is the mean of p(1 - p), `square` |W|².
    """

    theta: Tensor
    logits: Tensor
    objective: float
    gradient: Tensor
    curvature: Tensor
    square: float


class SoftmaxRegression:
    """One training set, to be fitted for several penalties."""

    def __init__(self, features: Tensor, labels: Tensor, num_classes: int) -> None:
        """Take float32 features (num_samples, num_features), int64 labels below `num_classes`; each occurs."""
        self._labels = labels[:, None]
        self._mean = features.mean(0, dtype=torch.float64)
        centred = features - self._mean.float()
        variances, self._axes = torch.linalg.eigh((centred.T @ centred).double() / len(labels))
        self._variances = variances.clamp_min(float(variances[-1]) * _LEAST_VARIANCE)[:, None]
        self._features = centred @ self._axes.float()
        shares = torch.bincount(labels, minlength=num_classes).double() / len(labels)
        # Without weights the best bias gives every class its share: the start, and the optimum of a strong penalty.
        self._nothing = torch.zeros(features.shape[1] + 1, num_classes, dtype=torch.float64, device=features.device)
        self._nothing[-1] = shares.log()

    def fit(self, penalty: Penalty, start: Fit | None = None, max_iterations: int = MAX_ITERATIONS) -> Fit:
        """Return the optimum; `start` is a fit for another penalty, or of another training set of the same kind."""
        here = self._point(self._nothing, penalty)
        if penalty.holds_at_nothing(here.gradient):
            return self._as_fit(here, 0)
        if start is not None and bool(start.weights.any()):
            here = self._point(self._turned(start), penalty)
        memory = Memory(_MEMORY)
        num_iterations = 0
        while num_iterations < max_iterations:
            if here.square == 0 and not penalty.squared:
                direction = -here.gradient
            else:
                direction = memory.direction(here.gradient, self._rough_inverse(here, penalty))
                gap = -dot(here.gradient, direction) / 2
                if gap <= max(_RELATIVE_GAP * here.objective, _ABSOLUTE_GAP):
                    break
            reached = self._step(here, direction, penalty)
            if reached is None:
                if len(memory) == 0:
                    break
                # What is remembered misleads here; the rough Hessian alone may still find a way down.
                memory.clear()
                continue
            if here.square > 0 or penalty.squared:
                memory.add(reached.theta - here.theta, reached.gradient - here.gradient)
            here = reached
            num_iterations += 1
        return self._as_fit(here, num_iterations)

    def _point(self, theta: Tensor, penalty: Penalty, logits: Tensor | None = None) -> _Point:
        logits = self._logits(theta) if logits is None else logits
        logs = torch.log_softmax(logits, 1)
        loss = self._mean_of_right(logs)
        shares = logs.exp_()
        curvature = shares.sum(0).double() - torch.linalg.vecdot(shares, shares, dim=0).double()
        misses = shares.scatter_add_(1, self._labels, shares.new_full((1, 1), -1.0).expand_as(self._labels))
        gradient = torch.cat([self._features.T @ misses, misses.sum(0, keepdim=True)]).double() / len(misses)
        square = dot(theta[:-1], theta[:-1])
        if square > 0:
            gradient[:-1] += penalty.pull(square) * theta[:-1]
        curvature = (curvature / len(misses)).clamp_min(_LEAST_CURVATURE)
        return _Point(theta, logits, -loss + penalty.value(square), gradient, curvature, square)

    def _step(self, here: _Point, direction: Tensor, penalty: Penalty) -> _Point | None:
        """Return the point that the line search reaches, or None when it finds no way down."""
        change = self._logits(direction)
        right = self._mean_of_right(change)
        weights = direction[:-1]
        crossed, length_square = dot(here.theta[:-1], weights), dot(weights, weights)

        def along(length: float) -> tuple[float, float]:
            logs = torch.log_softmax(torch.add(here.logits, change, alpha=length), 1)
            loss = self._mean_of_right(logs)
            slope = float((logs.exp_() * change).sum(1).mean(dtype=torch.float64)) - right
            square = max(here.square + 2 * length * crossed + length**2 * length_square, 0.0)
            rise = penalty.pull(square) * (crossed + length * length_square) if square > 0 else 0.0
            return -loss + penalty.value(square), slope + rise

        slope = dot(here.gradient, direction)
        if here.square == 0:
            slope += penalty.rise_from_nothing(length_square)
        length = search_line(along, here.objective, slope)
        if length is None:
            return None
        return self._point(here.theta + length * direction, penalty, here.logits.add_(change, alpha=length))

    def _rough_inverse(self, here: _Point, penalty: Penalty) -> Callable[[Tensor], Tensor]:
        """Return the inverse of the Hessian with each class's part of it taken as the features' covariance, scaled."""
        pull = penalty.pull(here.square)
        diagonal = self._variances * here.curvature + pull
        ray = torch.zeros_like(here.theta[:-1]) if penalty.squared else here.theta[:-1] / math.sqrt(here.square)
        turned = ray / diagonal
        # |W| does not bend along W itself: a term of rank one, taken back by the Sherman-Morrison formula.
        share = pull / (1 - pull * dot(ray, turned))

        def apply(vector: Tensor) -> Tensor:
            weights = vector[:-1] / diagonal
            weights += share * dot(ray, weights) * turned
            return torch.cat([weights, (vector[-1] / here.curvature)[None]])

        return apply

    def _logits(self, theta: Tensor) -> Tensor:
        return torch.addmm(theta[-1].float(), self._features, theta[:-1].float())

    def _mean_of_right(self, scores: Tensor) -> float:
        return float(scores.gather(1, self._labels).mean(dtype=torch.float64))

    def _as_fit(self, point: _Point, num_iterations: int) -> Fit:
        weights = (self._axes @ point.theta[:-1]).T
        return Fit(weights, point.theta[-1] - weights @ self._mean, point.objective, num_iterations)

    def _turned(self, fit: Fit) -> Tensor:
        return torch.cat([self._axes.T @ fit.weights.T, (fit.bias + fit.weights @ self._mean)[None]])
