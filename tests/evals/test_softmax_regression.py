"""The solver of the linear probe: it reaches the optimum of the protocol's objective, by any way."""

from __future__ import annotations

import math

import pytest

from tests.evals.probe_tools import draw

torch = pytest.importorskip("torch")

from evals.lbfgs import Memory, search_line  # noqa: E402
from evals.softmax_regression import Penalty, SoftmaxRegression  # noqa: E402

COSTS = (1.0, 10.0, 300.0, 1e4)


def tensors(seed: int, num: int, **more):
    features, labels = draw(seed, num, **more)
    return torch.from_numpy(features), torch.from_numpy(labels)


def objective(weights, bias, features, labels, penalty):
    """The protocol's words in float64, on the features as they are."""
    loss = torch.nn.functional.cross_entropy(features.double() @ weights.T + bias, labels)
    norm = weights.norm()
    return loss + penalty.strength * (0.5 * norm**2 if penalty.squared else norm)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("cost", COSTS)
def test_the_gradient_of_the_objective_vanishes_where_the_fit_ends(cost, squared):
    features, labels = tensors(0, 400)
    penalty = Penalty(0.5 / cost, squared)
    fit = SoftmaxRegression(features, labels, 6).fit(penalty)
    weights, bias = fit.weights.clone().requires_grad_(), fit.bias.clone().requires_grad_()
    value = objective(weights, bias, features, labels, penalty)
    assert value.item() == pytest.approx(fit.objective, rel=1e-5)
    value.backward()
    assert weights.grad is not None and float(weights.grad.norm()) < 2e-3
    assert 0 < fit.num_iterations < 100


@pytest.mark.parametrize("cost", [2.0, 30.0])
def test_it_is_never_above_a_plain_lbfgs_in_float64(cost):
    features, labels = tensors(1, 300)
    penalty = Penalty(0.5 / cost, squared=False)
    weights = torch.zeros(6, 12, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    method = torch.optim.LBFGS([weights, bias], max_iter=1000, line_search_fn="strong_wolfe")

    def closure():
        method.zero_grad()
        value = objective(weights, bias, features, labels, penalty)
        value.backward()
        return value

    method.step(closure)
    fit = SoftmaxRegression(features, labels, 6).fit(penalty)
    plain = closure().item()
    ours = float(objective(fit.weights, fit.bias, features, labels, penalty))
    assert ours == pytest.approx(plain, rel=1e-4)
    assert ours <= plain * (1 + 1e-5)


def test_where_one_starts_does_not_matter():
    train_features, train_labels = tensors(2, 500)
    regression = SoftmaxRegression(train_features, train_labels, 6)
    features, labels = tensors(3, 300)
    penalty = Penalty(0.5 / 30, squared=False)
    fresh = regression.fit(penalty)
    for start in (regression.fit(Penalty(0.5 / 2, False)), SoftmaxRegression(features, labels, 6).fit(penalty)):
        warm = regression.fit(penalty, start)
        assert warm.objective == pytest.approx(fresh.objective, rel=1e-5)
        assert int((warm.logits(features).argmax(1) != fresh.logits(features).argmax(1)).sum()) <= 1


def test_a_strong_penalty_leaves_no_weights_and_the_shares_of_classes_as_bias():
    features, labels = tensors(4, 300)
    fit = SoftmaxRegression(features, labels, 6).fit(Penalty(0.5 / 1e-4, squared=False))
    assert not fit.weights.any()
    shares = torch.bincount(labels).double() / len(labels)
    assert torch.allclose(fit.bias.softmax(0), shares)


def test_the_kink_is_left_just_where_the_gradient_outweighs_the_penalty():
    features, labels = tensors(5, 300)
    regression = SoftmaxRegression(features, labels, 6)
    shares = torch.bincount(labels).double() / len(labels)
    misses = shares - torch.nn.functional.one_hot(labels, 6)
    limit = float((features.double().T @ misses / len(labels)).norm())
    assert not regression.fit(Penalty(limit * 1.001, squared=False)).weights.any()
    assert regression.fit(Penalty(limit * 0.99, squared=False)).weights.any()


def test_constant_features_and_fewer_samples_than_features_are_no_trouble():
    features, labels = tensors(6, 20, width=40)
    features[:, 3] = 7.0
    fit = SoftmaxRegression(features, labels, 6).fit(Penalty(0.5 / 100, squared=False))
    assert bool(torch.isfinite(fit.weights).all())
    assert float(fit.weights[:, 3].abs().max()) < 1e-4
    assert torch.equal(fit.logits(features).argmax(1), labels)


def test_even_a_start_with_the_classes_mixed_up_ends_at_the_optimum():
    features, labels = tensors(7, 300)
    regression, penalty = SoftmaxRegression(features, labels, 6), Penalty(0.5 / 100, False)
    wrong = SoftmaxRegression(features, 5 - labels, 6).fit(penalty)
    assert regression.fit(penalty, wrong).objective == pytest.approx(regression.fit(penalty).objective, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-6, 0.3, 1.0, 50.0, 1e6])
def test_the_line_search_meets_both_conditions_on_any_scale(scale):
    def along(t):
        away = t / scale - 1
        return math.hypot(1, away), away / math.hypot(1, away) / scale

    value, slope = along(0.0)
    length = search_line(along, value, slope)
    assert length is not None
    assert along(length)[0] < value
    assert abs(along(length)[1]) <= 0.2 * abs(slope)


def test_the_line_search_gives_up_where_there_is_no_way_down():
    assert search_line(lambda t: (1.0 + t, 1.0), 1.0, -1e-3) is None


def test_memory_of_a_quadratic_yields_its_newton_step():
    curvature = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    memory = Memory(3)
    for place in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[place] = 0.5
        memory.add(step, curvature * step)
    gradient = torch.tensor([2.0, 2.0, 2.0], dtype=torch.float64)
    assert torch.allclose(memory.direction(gradient, lambda vector: vector), -gradient / curvature)
    memory.add(step, -step)
    assert len(memory) == 3
