"""The figures of CLIP_benchmark 1.6.2 on the small world, recorded by tests.benchmarks.clip_benchmark_equality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals import retrieval, zero_shot
from tests.evals import small_world

pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytestmark = pytest.mark.engines

ANSWERS = json.loads(Path(__file__).with_name("clip_benchmark_answers.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_world.write_model(tmp_path_factory.mktemp("model") / "export"))


def compare(found: dict[str, Any], answers: dict[str, float]) -> None:
    assert found == pytest.approx(answers, abs=1e-6)
    assert len(set(answers.values())) > 2 and max(answers.values()) < 1  # figures that a mistake would move


def test_zero_shot_figures_are_the_peers(model: str, tmp_path: Path) -> None:
    data = small_world.write_classification(tmp_path)
    compare(
        zero_shot.run(zero_shot.Options(data=str(data), model=model, workers=0))["metrics"], ANSWERS["twelve classes"]
    )


def test_retrieval_figures_are_the_peers(model: str, tmp_path: Path) -> None:
    data = small_world.write_retrieval(tmp_path)
    result = retrieval.run(retrieval.Options(data=str(data), model=model, workers=0))
    assert result["captions"] == 360 and result["data"]["images"] == 120
    compare(result["metrics"], ANSWERS["captions"])
