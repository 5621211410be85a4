"""CLIP_benchmark's probe: its search, and that it learns."""

from __future__ import annotations

import json

import pytest

from tests.evals.probe_tools import draw, recorded, save

torch = pytest.importorskip("torch")

from evals.__main__ import main  # noqa: E402
from evals.adamw_probe import DECAYS, AdamWProbe, search_decay  # noqa: E402


def test_the_97_decays_are_searched_by_seven_and_then_in_halving_steps():
    target = 37
    asked, score = recorded(lambda decay: -abs(DECAYS.index(decay) - target))
    best, tried = search_decay(score)
    places = [DECAYS.index(decay) for decay in asked]
    assert len(DECAYS) == 97 and DECAYS[0] == pytest.approx(1e-6) and DECAYS[96] == pytest.approx(100)
    assert places == [0, 16, 32, 48, 64, 80, 96, 24, 40, 36, 44, 34, 38, 35, 37]
    assert DECAYS.index(best) == target and set(tried) == set(asked)


def test_the_first_of_equals_wins_and_the_ends_are_not_passed():
    best, tried = search_decay(lambda decay: 0.5)
    assert DECAYS.index(best) == 0
    assert {DECAYS.index(decay) for decay in tried} == {0, 16, 32, 48, 64, 80, 96, 8, 4, 2, 1}


def test_a_probe_learns_and_decay_shrinks_it():
    features, labels = (torch.from_numpy(one) for one in draw(0, 400, apart=1.5))
    probe = AdamWProbe(6)
    light, heavy = (probe.train(features, labels, decay)(features) for decay in (0.0, 10.0))
    assert float((light.argmax(1) == labels).double().mean()) > 0.6
    assert float(heavy.std()) < 0.2 * float(light.std())
    assert torch.equal(probe.train(features, labels, 0.0)(features), light)
    assert not torch.equal(AdamWProbe(6, seed=1).train(features, labels, 0.0)(features), light)


def test_the_scale_of_features_is_nothing_to_it():
    features, labels = (torch.from_numpy(one) for one in draw(0, 200))
    probe = AdamWProbe(6, epochs=2)
    assert torch.allclose(
        probe.train(features, labels, 0.0)(features), probe.train(8 * features, labels, 0.0)(8 * features)
    )


def test_without_val_there_is_no_search_and_no_decay(tmp_path, capsys):
    train, test = draw(0, 300), draw(1, 100)
    names = ("train_features", "train_labels", "test_features", "test_labels")
    save(tmp_path / "a.npz", dict(zip(names, [*train, *test], strict=True)))
    assert main(["linear_probe", f"features={tmp_path / 'a.npz'}", "protocol=clip_benchmark", "device=cpu"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["variant"] == "clip_benchmark" and record["protocol"].startswith("CLIP_benchmark")
    assert (record["chosen_cost"], record["chosen_weight_decay"]) == (None, 0.0)
    assert record["validation"] == {"samples": 0, "held_out": False} and record["validation_accuracy"] == {}
    assert record["metrics"]["accuracy"] > 0.4
