"""Data sets of the hub's library: saved folders and Parquet files, nothing from the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evals.catalogue import find
from evals.errors import EvalError
from evals.sources.class_names import prompt_names
from tests.evals.source_tools import image, opened, told

pytest.importorskip("PIL")


def _table(datasets: Any, labels: list[int], first: int = 0) -> Any:
    features = {
        "img": datasets.Image(),
        "fine": datasets.ClassLabel(names=["b_ird", "ant"]),
        "other": datasets.Value("int32"),
    }
    rows = {
        "img": [{"bytes": image(first + number), "path": None} for number in range(len(labels))],
        "fine": labels,
        "other": labels,
    }
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # so that what is set meanwhile is unset again
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return datasets


def test_a_data_set_that_the_hubs_library_saved_is_read(tmp_path: Path, hub: Any) -> None:
    saved = hub.DatasetDict(
        {"train": _table(hub, [0, 1]), "validation": _table(hub, [1, 1, 0], 5), "test": _table(hub, [-1])}
    )
    saved.save_to_disk(tmp_path / "saved")
    source = opened("food101", tmp_path / "saved")
    # Its test has no labels, so it is measured on validation.
    assert told(source) == {
        "train": [(0, image(0)), (1, image(1))],
        "test": [(1, image(5)), (1, image(6)), (0, image(7))],
    }
    assert prompt_names(find("food101"), source.classes) == ["b ird", "ant"]


def test_parquet_files_of_the_hub_are_read(tmp_path: Path, hub: Any) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    _table(hub, [0, 1]).to_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    _table(hub, [1], 5).to_parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet")
    assert told(opened("cifar10", tmp_path / "set")) == {
        "train": [(0, image(0)), (1, image(1))],
        "test": [(1, image(5))],
    }


def test_what_is_not_in_the_hubs_cache_is_told(hub: Any) -> None:
    with pytest.raises(EvalError, match=r"source=hub:nobody/nothing: datasets cannot open it .*download=true"):
        opened("cifar10", "hub:nobody/nothing")
    with pytest.raises(EvalError, match="the catalogue knows no place of dtd on the hub"):
        opened("dtd", "hub:")
