"""Reading features=FILE.npz: what is taken, and how mistakes are told."""

from __future__ import annotations

import numpy as np
import pytest

from evals.arrays import check_arrays, read_arrays
from evals.errors import EvalError
from tests.evals import small_world
from tests.evals.probe_tools import save


def arrays(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made: dict[str, np.ndarray | None] = {
        "train_features": rng.standard_normal((6, 3)),
        "train_labels": np.array([2, 9, 2, 9, 4, 4]),
        "test_features": rng.standard_normal((2, 3)),
        "test_labels": np.array([9, 2], dtype=np.uint8),
    }
    return {name: one for name, one in (made | changes).items() if one is not None}


def test_types_are_brought_to_float32_and_int64_and_classes_keep_their_numbers(tmp_path):
    save(tmp_path / "a.npz", {**arrays(), "extra": np.zeros(1)})
    found = read_arrays(tmp_path / "a.npz")
    assert found.val is None
    assert found.train.features.dtype == np.float32 and found.test.labels.dtype == np.int64
    assert found.classes.tolist() == [2, 4, 9]
    assert found.places(found.train.labels).tolist() == [0, 2, 0, 2, 1, 1]


def test_val_is_read_when_it_is_there(tmp_path):
    save(tmp_path / "a.npz", arrays(val_features=np.ones((1, 3)), val_labels=np.array([4])))
    found = read_arrays(tmp_path / "a.npz")
    assert found.val is not None
    assert found.val.labels.tolist() == [4]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train_features": np.zeros((6, 3, 1))}, r"train_features: shape \(6, 3, 1\)"),
        ({"train_features": np.zeros((6, 3), dtype=int)}, "train_features: type int64"),
        ({"test_features": np.zeros((2, 4))}, "test_features: 4 numbers a sample, train_features 3"),
        ({"test_features": np.array([[0, 0, 0], [0, np.nan, 0]])}, "test_features: row 1 holds NaN"),
        ({"test_labels": np.array([9, 2, 2])}, "test_labels: 3 labels for 2 rows"),
        ({"test_labels": np.array([9.0, 2.0])}, "test_labels: type float64"),
        ({"test_labels": np.array([9, 3])}, "test_labels: class 3 has no sample in train_labels"),
        ({"train_labels": np.array([2, 9, 2, 9, 4, -1])}, "train_labels: -1 at place 5"),
        ({"train_labels": np.full(6, 2)}, "train_labels: only class 2"),
    ],
)
def test_mistakes_name_the_array(changes, told):
    with pytest.raises(EvalError, match=told):
        check_arrays(arrays(**changes))


def test_a_missing_array_is_named_with_the_nearest_of_those_there(tmp_path):
    save(tmp_path / "a.npz", {**arrays(test_labels=None), "test_label": np.zeros(2)})
    with pytest.raises(EvalError, match=r"a\.npz: no array test_labels \(did you mean 'test_label'\?\)"):
        read_arrays(tmp_path / "a.npz")
    save(tmp_path / "b.npz", arrays(val_features=np.zeros((2, 3))))
    with pytest.raises(EvalError, match="no array val_labels"):
        read_arrays(tmp_path / "b.npz")


def test_what_is_no_npz_file_is_told(tmp_path):
    (tmp_path / "text.npz").write_text("features")
    np.save(tmp_path / "one.npy", np.zeros(3))
    save(tmp_path / "cut.npz", arrays())
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    save(tmp_path / "objects.npz", arrays(train_labels=np.array([2, 9, 2, 9, 4, 4], dtype=object)))
    small_world.write_tar(tmp_path / "tar.npz", [("a.png", b"1")])
    for name in ("text.npz", "tar.npz"):
        with pytest.raises(EvalError, match=rf"{name}: no \.npz file; write it with numpy\.savez"):
            read_arrays(tmp_path / name)
    for name in ("text.npz", "one.npy", "cut.npz", "objects.npz", "none.npz", "."):
        with pytest.raises(EvalError, match="features="):
            read_arrays(tmp_path / name)
