"""Few-shot episodes: how they are drawn, and the accuracy of each against a plain loop."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from evals import few_shot
from evals.__main__ import main
from evals.arrays import Arrays, Split, check_arrays
from evals.errors import EvalError
from evals.few_shot import Options, draw_distinct, episode_accuracies
from tests.evals.probe_tools import draw

SMALL = Options(features="", episodes=40)


def arrays(num_test: int = 120, **more) -> Arrays:
    train, test = draw(0, 200, **more), draw(1, num_test, **more)
    names = ("train_features", "train_labels", "test_features", "test_labels")
    return check_arrays(dict(zip(names, [*train, *test], strict=True)))


def test_draws_are_different_even_and_below_their_sizes():
    rng = np.random.default_rng(0)
    drawn = draw_distinct(rng, np.full(30_000, 4), 3)
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    orders, counts = np.unique(drawn, axis=0, return_counts=True)
    # 24 orders of 3 out of 4, each expected 1,250 times, with a standard deviation of 35.
    assert len(orders) == 24 and abs(counts - 1250).max() < 180
    whole = draw_distinct(rng, np.full(500, 6), 6)
    assert np.array_equal(np.sort(whole, axis=1), np.tile(np.arange(6), (500, 1)))


def test_a_size_below_the_number_gives_all_there_is_and_zeros():
    drawn = draw_distinct(np.random.default_rng(0), np.array([2, 5, 1]), 4)
    assert sorted(drawn[0, :2].tolist()) == [0, 1] and drawn[0, 2:].tolist() == [0, 0]
    assert len(set(drawn[1].tolist())) == 4 and drawn[2].tolist() == [0, 0, 0, 0]


def test_each_episode_is_judged_as_a_plain_loop_judges_it(monkeypatch):
    found = arrays()
    taken = []
    judge = few_shot._right

    def spy(supports, queries):
        taken.append((supports, queries))
        return judge(supports, queries)

    monkeypatch.setattr(few_shot, "_right", spy)
    accuracies = episode_accuracies(found, SMALL)
    plain = [
        loop_accuracy(*episode)
        for supports, queries in taken
        for episode in zip(supports.astype(np.float64), queries.astype(np.float64), strict=True)
    ]
    assert len(plain) == 40
    assert np.allclose(accuracies, plain, atol=1.01 / 30) and np.mean(accuracies != plain) < 0.05
    assert 0.3 < np.mean(plain) < 0.95


def loop_accuracy(supports: np.ndarray, queries: np.ndarray) -> float:
    mean = np.mean([one for group in supports for one in group], axis=0)

    def unit(vector: np.ndarray) -> np.ndarray:
        return (vector - mean) / np.linalg.norm(vector - mean)

    centres = [np.mean([unit(one) for one in group], axis=0) for group in supports]
    right = [
        int(np.argmin([np.linalg.norm(unit(query) - centre) for centre in centres])) == place
        for place, group in enumerate(queries)
        for query in group
    ]
    return float(np.mean(right))


def test_supports_come_from_train_and_queries_from_test_each_of_its_own_class(monkeypatch):
    found = arrays()
    # A sample's only feature is its class, and whether it is of test.
    train = found.train.labels[:, None] * np.array([[1.0, 0.0]], dtype=np.float32)
    test = found.test.labels[:, None] * np.array([[1.0, 0.0]]) + np.array([[0.0, 1.0]])
    marked = check_arrays(
        {
            "train_features": train,
            "train_labels": found.train.labels,
            "test_features": test.astype(np.float32),
            "test_labels": found.test.labels,
        }
    )
    taken = []

    def all_right(supports, queries):
        taken.append((supports, queries))
        return np.ones(queries.shape[:3], dtype=bool)

    monkeypatch.setattr(few_shot, "_right", all_right)
    assert episode_accuracies(marked, SMALL).tolist() == [1.0] * 40
    ((supports, queries),) = taken
    assert supports.shape == (40, 5, 5, 2) and queries.shape == (40, 5, 6, 2)
    assert not supports[..., 1].any() and (queries[..., 1] == 1).all()
    classes = supports[..., 0, 0]
    assert (supports[..., 0] == classes[..., None]).all() and (queries[..., 0] == classes[..., None]).all()
    assert all(len(set(row)) == 5 for row in classes.tolist())


def test_a_class_with_few_test_samples_gives_all_it_has(monkeypatch):
    found = arrays(num_test=12)
    sizes = np.bincount(found.test.labels)
    assert sizes.min() < 6
    monkeypatch.setattr(few_shot, "_right", lambda supports, queries: np.ones(queries.shape[:3], dtype=bool))
    assert episode_accuracies(found, SMALL).tolist() == [1.0] * 40


def test_the_seed_decides_and_how_many_at_once_does_not(monkeypatch):
    found = arrays()
    first = episode_accuracies(found, SMALL)
    assert not np.array_equal(first, episode_accuracies(found, replace(SMALL, seed=1)))
    monkeypatch.setattr(few_shot, "_EPISODES_AT_ONCE", 7)
    assert np.array_equal(first, episode_accuracies(found, SMALL))


def test_the_command_writes_mean_and_deviation(tmp_path, capsys):
    found = arrays()
    np.savez(
        tmp_path / "a.npz",
        train_features=found.train.features,
        train_labels=found.train.labels,
        test_features=found.test.features,
        test_labels=found.test.labels,
    )
    assert main(["few_shot", f"features={tmp_path / 'a.npz'}", "episodes=40"]) == 0
    record = json.loads(capsys.readouterr().out)
    accuracies = episode_accuracies(found, SMALL)
    assert record["metrics"] == {
        "accuracy": pytest.approx(accuracies.mean()),
        "std": pytest.approx(accuracies.std(ddof=1)),
    }
    assert (record["task"], record["episodes"], record["seed"]) == ("few_shot", 40, 0)
    assert ": 40 episodes of 5 classes" in record["protocol"]
    assert record["protocol"].replace(" 40 episodes", " 5,000 episodes") == few_shot.PROTOCOL


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"way": 7}, "way=7: train_labels has only 6 classes"),
        ({"shot": 100}, "shot=100: class"),
        ({"episodes": 0}, "episodes=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_mistakes_name_the_argument(changes, told):
    with pytest.raises(EvalError, match=told):
        episode_accuracies(arrays(), replace(SMALL, **changes))


def test_a_class_without_test_samples_is_named():
    found = arrays()
    kept = found.test.labels != 3
    less = Arrays(found.train, None, Split(found.test.features[kept], found.test.labels[kept]), found.classes)
    with pytest.raises(EvalError, match="test_labels: class 3 has no test sample"):
        episode_accuracies(less, SMALL)
