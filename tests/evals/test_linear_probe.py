"""The linear probe as a task: search, refit, variants, hold-out."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from evals.__main__ import main
from evals.arrays import Arrays, check_arrays
from evals.errors import EvalError
from evals.linear_probe import Options, hold_out, linear_probe
from tests.evals.probe_tools import draw, save

torch = pytest.importorskip("torch")

from evals.softmax_regression import Penalty, SoftmaxRegression  # noqa: E402
from evals.tolerant_fit import BINDING_OBJECTIVE, fit_to_tolerance  # noqa: E402

HERE = Options(features="", device="cpu")


def three_splits(val: bool = True, **more) -> dict[str, np.ndarray]:
    found = {}
    for seed, (name, num) in enumerate([("train", 300), ("val", 200), ("test", 250)]):
        if val or name != "val":
            found[f"{name}_features"], found[f"{name}_labels"] = draw(seed, num, **more)
    return found


def plain_accuracy(arrays: Arrays, cost: float, squared: bool = False) -> float:
    """Train on train and val by torch's L-BFGS in float64, the way the protocol words it; return test accuracy."""
    assert arrays.val is not None
    features = torch.from_numpy(np.concatenate([arrays.train.features, arrays.val.features])).double()
    labels = torch.from_numpy(np.concatenate([arrays.train.labels, arrays.val.labels]))
    weights = torch.zeros(len(arrays.classes), features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(arrays.classes), dtype=torch.float64, requires_grad=True)
    method = torch.optim.LBFGS([weights, bias], max_iter=1000, line_search_fn="strong_wolfe")

    def closure():
        method.zero_grad()
        loss = torch.nn.functional.cross_entropy(features @ weights.T + bias, labels)
        # scikit-learn: 0.5 |w|² + C x sum of losses, here divided by C x number of samples.
        loss = loss + (0.5 * (weights**2).sum() / (cost * len(labels)) if squared else 0.5 / cost * weights.norm())
        loss.backward()
        return loss

    method.step(closure)
    logits = torch.from_numpy(arrays.test.features).double() @ weights.T + bias
    return float((logits.argmax(1) == torch.from_numpy(arrays.test.labels)).double().mean())


@pytest.mark.parametrize("protocol", ["lgssl", "sklearn"])
def test_the_chosen_cost_refitted_on_train_and_val_gives_the_plain_probes_accuracy(protocol):
    arrays = check_arrays(three_splits())
    probe = linear_probe(arrays, replace(HERE, protocol=protocol))
    assert probe.searched[probe.chosen] == max(probe.searched.values())
    assert probe.scores.acc1 == pytest.approx(plain_accuracy(arrays, probe.chosen, protocol == "sklearn"), abs=0.005)
    assert 0.5 < probe.scores.acc1 < 0.95
    assert (probe.num_validation, probe.held_out) == (200, False)


def test_the_command_writes_the_record(tmp_path, capsys):
    save(tmp_path / "a.npz", three_splits())
    assert main(["linear_probe", f"features={tmp_path / 'a.npz'}", "device=cpu", f"out={tmp_path / 'o.json'}"]) == 0
    record = json.loads((tmp_path / "o.json").read_text())
    assert json.loads(capsys.readouterr().out) == record
    assert record["task"] == "linear_probe" and record["variant"] == "lgssl" and "not squared" in record["protocol"]
    assert record["metrics"]["accuracy"] == record["metrics"]["acc1"]
    assert set(record["metrics"]) == {"accuracy", "acc1", "acc5", "mean_per_class_recall"}
    assert str(record["chosen_cost"]) in record["validation_accuracy"]
    assert record["samples"] == {"train": 300, "test": 250} and record["num_classes"] == 6


def test_numbers_of_classes_are_only_names():
    found = three_splits()
    plain = linear_probe(check_arrays(found), HERE)
    renamed = {name: one * 7 + 3 if name.endswith("labels") else one for name, one in found.items()}
    assert linear_probe(check_arrays(renamed), HERE) == plain


def test_mean_per_class_counts_each_class_alike_and_an_absent_one_as_nothing():
    found = three_splits()
    found["test_features"] = found["test_features"][found["test_labels"] != 5]
    found["test_labels"] = found["test_labels"][found["test_labels"] != 5]
    scores = linear_probe(check_arrays(found), replace(HERE, metric="mean_per_class")).scores
    assert scores.mean_per_class == pytest.approx(scores.mean_per_class_recall * 5 / 6)
    assert scores.chosen("mean_per_class") == scores.mean_per_class != scores.acc1


def test_without_val_a_fifth_of_each_class_is_held_out_and_used_again_in_the_end():
    arrays = check_arrays(three_splits(val=False))
    probe = linear_probe(arrays, HERE)
    counts = np.bincount(arrays.train.labels)
    assert probe.held_out and probe.num_validation == sum(int(number * 0.2) for number in counts)
    train, val = hold_out(arrays.train)
    assert np.bincount(val.labels).tolist() == [int(number * 0.2) for number in counts]
    both = check_arrays(
        {
            "train_features": train.features,
            "train_labels": train.labels,
            "val_features": val.features,
            "val_labels": val.labels,
            "test_features": arrays.test.features,
            "test_labels": arrays.test.labels,
        }
    )
    assert linear_probe(both, HERE).scores == probe.scores


def test_the_held_out_samples_are_those_of_seed_93():
    features, labels = draw(0, 120)
    _, val = hold_out(check_arrays({**three_splits(), "train_features": features, "train_labels": labels}).train)
    rows = [row for row, label in enumerate(labels) if label == 0]
    random.Random(93).shuffle(rows)
    expected = features[rows[: int(len(rows) * 0.2)]]
    assert np.array_equal(val.features[val.labels == 0], expected)


def test_classes_too_small_to_hold_out_are_told():
    found = three_splits(val=False)
    with pytest.raises(EvalError, match="no class has 5 samples"):
        linear_probe(check_arrays({**found, "train_features": draw(0, 8)[0], "train_labels": draw(0, 8)[1]}), HERE)


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(EvalError, match="device=abacus"):
        linear_probe(check_arrays(three_splits()), replace(HERE, device="abacus"))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried\nmuch"), MemoryError()])
def test_a_device_whose_memory_is_too_small_is_told(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(SoftmaxRegression, "fit", fail)
    with pytest.raises(
        EvalError,
        match=r"device=cpu: out of memory on cpu .* 300 training samples, 12 .*; give a device with more memory",
    ):
        linear_probe(check_arrays(three_splits()), HERE)


def test_other_errors_of_a_fit_stay_what_they_are(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(SoftmaxRegression, "fit", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        linear_probe(check_arrays(three_splits()), HERE)


def test_where_the_penalty_is_next_to_nothing_the_fit_ends_by_torchs_tolerances():
    features, labels = (torch.from_numpy(one) for one in draw(0, 200, apart=4.0))
    weak, strong = Penalty(0.5 / 1e6, squared=False), Penalty(0.5 / 10, squared=False)
    regression = SoftmaxRegression(features, labels, 6)
    early, optimum = fit_to_tolerance(features, labels, 6, weak), regression.fit(weak)
    assert optimum.objective < early.objective < BINDING_OBJECTIVE
    assert fit_to_tolerance(features, labels, 6, strong).objective == pytest.approx(
        regression.fit(strong).objective, rel=1e-4
    )


def test_only_lgssl_takes_the_early_end_and_only_below_the_bound(monkeypatch):
    asked = []

    def spy(features, labels, num_classes, penalty):
        asked.append(penalty)
        return fit_to_tolerance(features, labels, num_classes, penalty)

    monkeypatch.setattr("evals.tolerant_fit.fit_to_tolerance", spy)
    arrays = check_arrays(three_splits(apart=4.0))
    linear_probe(arrays, replace(HERE, protocol="sklearn"))
    assert asked == []
    linear_probe(arrays, HERE)
    assert 0.5 / 1e6 in [penalty.strength for penalty in asked]
    assert max(penalty.strength for penalty in asked) < 0.5 / 10
