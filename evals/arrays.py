"""Features and labels from an .npz file: `{train,val,test}_{features,labels}`, val optional."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evals.errors import EvalError, nearest

NAMES = tuple(f"{split}_{part}" for split in ("train", "val", "test") for part in ("features", "labels"))
_NEXT = "write it with numpy.savez(FILE, train_features=…, train_labels=…, test_features=…, test_labels=…)"


@dataclass(frozen=True)
class Split:
    """`features` float32 (num_samples, num_features), `labels` int64 (num_samples,)."""

    features: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Arrays:
    """The splits of one data set; `classes` are the labels of train, ascending, int64 (num_classes,)."""

    train: Split
    val: Split | None
    test: Split
    classes: np.ndarray

    def places(self, labels: np.ndarray) -> np.ndarray:
        """Return labels as places in `classes`: 0 to num_classes - 1, whatever the numbers of the classes are."""
        return np.searchsorted(self.classes, labels)


def read_arrays(path: Path) -> Arrays:
    """Read and check an .npz file. Raises EvalError naming the file, the array and what is wrong with it."""
    try:
        if not _is_numpys(path):
            raise EvalError(f"features={path}: no .npz file; {_NEXT}")
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise EvalError(f"features={path}: a single array, no .npz file; {_NEXT}")
        with file:
            found = {name: file[name] for name in file.files if name in NAMES}
            others = [name for name in file.files if name not in NAMES]
    except FileNotFoundError:
        raise EvalError(f"features={path}: there is no such file; {_NEXT}") from None
    except IsADirectoryError:
        raise EvalError(f"features={path}: a folder, no .npz file; {_NEXT}") from None
    except EvalError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EvalError(f"features={path}: no readable .npz file ({error}); {_NEXT}") from None
    needed = [name for name in NAMES if not name.startswith("val_") or any(one.startswith("val_") for one in found)]
    if missing := [name for name in needed if name not in found]:
        near = nearest(missing[0], others)
        raise EvalError(f"features={path}: no array {missing[0]}{near}; it has {', '.join([*found, *others])}; {_NEXT}")
    try:
        return check_arrays(found)
    except EvalError as error:
        raise EvalError(f"features={path}: {error}") from None


def _is_numpys(path: Path) -> bool:
    """Return whether a file begins as numpy's do; of others numpy tells only that they may be pickles."""
    with path.open("rb") as file:
        return file.read(6).startswith((b"PK", b"\x93NUMPY"))


def check_arrays(found: Mapping[str, np.ndarray]) -> Arrays:
    """Return the splits of arrays named as in NAMES. Raises EvalError naming the array and what is wrong with it."""
    splits = {name: _split(name, found) for name in ("train", "val", "test") if f"{name}_features" in found}
    train = splits["train"]
    classes = np.unique(train.labels)
    if len(classes) < 2:
        raise EvalError(f"train_labels: only class {classes[0]}; there must be two classes or more")
    for name, split in splits.items():
        if split.features.shape[1] != train.features.shape[1]:
            widths = f"{split.features.shape[1]} numbers a sample, train_features {train.features.shape[1]}"
            raise EvalError(f"{name}_features: {widths}; extract all splits with the same model and layer")
        unknown = np.setdiff1d(split.labels, classes)
        if len(unknown):
            raise EvalError(f"{name}_labels: class {unknown[0]} has no sample in train_labels; drop it or add some")
    return Arrays(train, splits.get("val"), splits["test"], classes)


def _split(name: str, found: Mapping[str, np.ndarray]) -> Split:
    features, labels = found[f"{name}_features"], found[f"{name}_labels"]
    if features.ndim != 2 or 0 in features.shape:
        raise EvalError(f"{name}_features: shape {features.shape}; must be (num_samples, num_features), neither 0")
    if features.dtype.kind != "f":
        raise EvalError(f"{name}_features: type {features.dtype}; must be a float type, best float32")
    if labels.ndim != 1:
        raise EvalError(f"{name}_labels: shape {labels.shape}; must be (num_samples,), one class number a sample")
    if labels.dtype.kind not in "iu":
        raise EvalError(f"{name}_labels: type {labels.dtype}; must be an integer type")
    if len(labels) != len(features):
        raise EvalError(f"{name}_labels: {len(labels)} labels for {len(features)} rows of {name}_features")
    if labels.min() < 0:
        raise EvalError(f"{name}_labels: {labels.min()} at place {int(labels.argmin())}; class numbers begin at 0")
    features = np.ascontiguousarray(features, dtype=np.float32)
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise EvalError(
            f"{name}_features: row {int(finite.argmin())} holds NaN or infinity; extract the features again"
        )
    return Split(features, labels.astype(np.int64))
