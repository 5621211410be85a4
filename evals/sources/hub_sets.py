"""Data sets of the hub, by the library `datasets`: from its cache, a folder it saved, or Parquet files."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from evals.sources.class_folders import splits_of
from evals.sources.samples import Sample, Source

KIND = "hub"
PREFIX = "hub:"
_SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")


def has_layout(place: Path) -> bool:
    """Return whether a folder was saved by `datasets`, or has Parquet files."""
    if not place.is_dir():
        return False
    return any((place / name).is_file() for name in _SAVED) or bool(_parquet(place))


def read_hub(info: DataSetInfo, place: str, asked: Sequence[str], download: bool) -> Source:
    """Return splits of a data set by `hub:`, `hub:ID`, or a folder.

    Of several columns of classes the catalogue tells which; captions are in a column of texts. Raises EvalError, for
    what is not on this machine and may not be downloaded as well.
    """
    if not download:
        # Read by the libraries when they are imported: nothing may be fetched unless it was asked for.
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    try:
        # By name: it has no types, and is no dependency of any extra.
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise EvalError(f"source={place}: needs the package datasets; pip install datasets") from error
    opened = _open(datasets, info, place, download)
    tables = {word: opened[word] for word in opened if _has_labels(opened[word], info, datasets, place)}
    splits = splits_of(tables, info)
    if splits is None:
        raise EvalError(f"source={place}: its splits are {', '.join(tables)}; valid are train, validation and test")
    found = {}
    classes: tuple[str, ...] = ()
    for word, split in splits.items():
        if split not in asked:
            continue
        image, label = (
            _column(tables[word], datasets.Image, "images", place),
            _label(tables[word], datasets, info, place),
        )
        table = tables[word].cast_column(image, datasets.Image(decode=False))
        if isinstance(table.features[label], datasets.ClassLabel):
            classes = tuple(table.features[label].names)
        found[split] = _samples(table, image, label, info, word)
    if info.class_folders == "wnid" and len(classes) == info.classes == 1000:
        classes = tuple(str(number) for number in range(1000))  # in ImageNet's order, whatever the hub calls them
    return Source(KIND, found, classes)


def _open(datasets: Any, info: DataSetInfo, place: str, download: bool) -> Any:
    folder = Path(place).expanduser()
    try:
        if not place.startswith(PREFIX) and (files := _parquet(folder)):
            return datasets.load_dataset("parquet", data_files=files)
        if not place.startswith(PREFIX):
            opened = datasets.load_from_disk(str(folder))
            return opened if isinstance(opened, dict) else {"test": opened}
        name = place.removeprefix(PREFIX) or info.hub.get("id", "")
        if not name:
            raise EvalError(
                f"source={place}: the catalogue knows no place of {info.name} on the hub; give hub:OWNER/NAME"
            )
        return datasets.load_dataset(name)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, EvalError):
            raise
        more = "" if download else "; it has to be on this machine already, or give download=true"
        raise EvalError(f"source={place}: datasets cannot open it ({error}){more}") from error


def _parquet(folder: Path) -> dict[str, list[str]]:
    """Return Parquet files by split: called `train-00000-of-00002.parquet`, as the hub's own are."""
    found: dict[str, list[str]] = {}
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]):
        found.setdefault(path.stem.split("-")[0], []).append(str(path))
    return found


def _column(table: Any, kind: type, told: str, place: str) -> str:
    found = [name for name, feature in table.features.items() if isinstance(feature, kind)]
    if len(found) != 1:
        raise EvalError(f"source={place}: {len(found)} columns of {told} in {', '.join(table.features)}; one is needed")
    return str(found[0])


def _label(table: Any, datasets: Any, info: DataSetInfo, place: str) -> str:
    if info.kind == "retrieval":
        name = next((name for name in ("caption", "captions", "sentences", "text") if name in table.features), None)
        if name is None:
            raise EvalError(f"source={place}: no column of captions in {', '.join(table.features)}")
        return name
    asked = str(info.hub.get("label", ""))
    return asked if asked in table.features else _column(table, datasets.ClassLabel, "classes", place)


def _has_labels(table: Any, info: DataSetInfo, datasets: Any, place: str) -> bool:
    """Return False for the test split of a contest, all of whose labels are -1."""
    return info.kind == "retrieval" or max(table[_label(table, datasets, info, place)], default=-1) >= 0


def _samples(table: Any, image: str, label: str, info: DataSetInfo, word: str) -> Sequence[Sample]:
    found = []
    for number, value in enumerate(table[label]):
        name, read = f"{word} row {number}", partial(_content, table, image, number)
        if info.kind == "retrieval":
            found.append(Sample(name, read, captions=(value,) if isinstance(value, str) else tuple(value)))
        elif value is None or value < 0:
            raise EvalError(f"source: {name} of {info.name} has no class; leave such rows out")
        else:
            found.append(Sample(name, read, int(value)))
    return found


def _content(table: Any, image: str, number: int) -> bytes:
    cell = table[number][image]
    return bytes(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
