"""Rare classes stand beside the number of training captions that name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals import long_tail, zero_shot
from evals.errors import EvalError
from tests.evals import small_world


def test_counts_are_read_from_json_and_tsv_alike(tmp_path: Path) -> None:
    counts = {"amber": 3, "Crystal ball": 0, "x ray": 12}
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    (tmp_path / "counts.tsv").write_text("amber\t3\nCrystal ball\t0\n\nx ray\t12\n")
    for name in ("counts.json", "counts.tsv"):
        known = long_tail.read_counts(str(tmp_path / name))
        assert long_tail.counts_of(["crystal_ball", "x-ray", "amber"], known, name) == [0, 12, 3]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "[1, 2]"),
        ("a.json", '{"amber": 1.5}'),
        ("a.json", '{"amber": -1}'),
        ("a.json", "{"),
        ("a.tsv", "amber 3"),
    ],
)
def test_a_file_of_other_things_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(EvalError, match="neither a JSON object of whole numbers nor lines class<TAB>number"):
        long_tail.read_counts(str(tmp_path / name))


def test_counts_that_are_no_utf_8_are_told(tmp_path: Path) -> None:
    (tmp_path / "counts.tsv").write_bytes("séchée\t3\n".encode("latin-1"))
    with pytest.raises(EvalError, match=r"counts=.*counts\.tsv: no UTF-8 text"):
        long_tail.read_counts(str(tmp_path / "counts.tsv"))


def test_a_class_without_a_count_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"no count for the class 'ambr' \(did you mean 'amber'\?\); add it"):
        long_tail.counts_of(["ambr"], {"amber": 1}, "counts.tsv")
    with pytest.raises(EvalError, match="there is no such file; give one, or counts=none"):
        long_tail.read_counts(str(tmp_path / "none.tsv"))


@pytest.mark.engines
def test_the_result_is_zero_shots_with_the_counts(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    data = small_world.write_classification(tmp_path / "data", images=30)
    model = small_world.write_model(tmp_path / "model")
    counts = {name: 10 * number for number, name in enumerate(small_world.CLASSES)}
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    given: dict[str, Any] = {"data": str(data), "model": str(model)}
    result = long_tail.run(long_tail.Options(**given, workers=0, counts=str(tmp_path / "counts.json")))
    assert result["task"] == "long_tail" and result["per_class"]["name"] == list(small_world.CLASSES)
    assert result["per_class"]["matches"] == list(counts.values())
    plain = zero_shot.run(zero_shot.Options(**given, workers=0))
    assert result["metrics"] == plain["metrics"] and result["per_class"]["recall"] == plain["per_class"]["recall"]
    unknown = long_tail.run(long_tail.Options(**given, workers=0, counts="none"))
    assert unknown["per_class"]["matches"] == [None] * 12
