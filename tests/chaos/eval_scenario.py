"""Evaluation under chaos: two checkpoints of a small training on small real data sets and on the glyph sets."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from sharding.plan import load_plan
from synthclip_hpc.config.eval import GLYPH_SETS
from synthclip_hpc.evaluation.results import read_cells
from synthclip_hpc.run import Run
from tests.chaos.eval_data import write_sets
from tests.chaos.product import ROOT
from tests.chaos.render_scenario import EMOJI
from tests.chaos.scenario import Part, Scenario


@dataclass(frozen=True)
class EvalScenario(Scenario):
    """Stage `eval`. A cell that is killed is made again from its beginning, its features from the cache."""

    models: int = 2
    """Checkpoints of so many epochs; one and a small model from elsewhere when nothing comes before the stage."""
    tasks: tuple[str, ...] = ("zero_shot", "linear_probe", "few_shot", "retrieval")
    glyph_images: int = 0
    """Of each class in a glyph set."""
    datasets: tuple[str, ...] = ()
    cells: int = 0
    """Of all models."""

    @property
    def parts(self) -> tuple[Part, ...]:
        # One task draws the sets, earlier checkpoints are one shard each, and so is each cell.
        shards = 1 + self.models - 1 + self.cells
        features = 3 * 6 * len(self.datasets)
        return (Part("eval", self.phases, shards, self.cells, 1, 1, keeps_parts=False, other_files=40 + 2 * features),)

    def made_in(self, folder: Path) -> tuple[Scenario, Path]:
        sets = write_sets(folder / "sets")
        found = (*map(str, sets), *GLYPH_SETS)
        # Where there is no train split zero-shot alone, or retrieval; two of the glyph sets are for retrieval.
        probed = len(self.tasks) - 1
        tasks = sum(probed if (path / "train").is_dir() else 1 for path in sets) + 2 * probed + 2
        keys = self.keys
        if self.prelude is None:
            keys += ("eval.checkpoints=none", f"eval.model={_model(folder / 'model')}")
        return replace(self, datasets=found, cells=self.models * tasks, keys=keys), EMOJI

    def identity(self, bank: Path, seed: int, stage: str | None = None) -> list[str]:
        return [
            f"stage={stage or self.stage}",
            f"seed={seed}",
            f"concepts.bank={bank}",
            f"captions.per_concept={self.per_concept}",
            "captions.shard_items=5000",
            "captions.batch_items=500",
            f"balance.target={self.target}",
            f"balance.shard_items={self.shard_items}",
            f"eval.datasets={','.join(self.datasets)}",
            f"eval.glyph_images={self.glyph_images}",
            f"eval.tasks={','.join(self.tasks)}",
            *self.keys,
        ]


def _model(folder: Path) -> Path:
    """Write a model as a training exports one, in a process of its own: torch stays out of the harness."""
    program = "import sys, pathlib; from tests.evals import small_world as w; w.write_model(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=ROOT, timeout=300, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"no model could be made:\n{done.stderr}")
    return folder


def wrong_cells(run: Path) -> list[str]:
    """What is wrong with the cells of a finished run: lost, doubled, or without numbers."""
    plan = load_plan(Run(run).phase("eval", "cells"))
    if plan is None:
        return ["eval/cells has no plan"]
    planned = [(one["model"], one["dataset"], one["task"]) for one in plan.identity["cells"]]
    cells = read_cells(Run(run))
    found = [(cell.model, cell.dataset, cell.task) for cell in cells]
    problems = [] if found == planned else [f"{len(found)} cells, expected {len(planned)}, or in another order"]
    if len(set(found)) != len(found):
        problems.append("a cell occurs twice")
    hashes: dict[str, set[str]] = {}
    for cell in cells:
        hashes.setdefault(cell.model, set()).add(cell.record["model"]["sha256"])
        if not any(isinstance(value, float) for value in cell.metrics.values()):
            problems.append(f"{cell.model}, {cell.dataset}, {cell.task}: no number in {json.dumps(cell.metrics)}")
    if any(len(found) > 1 for found in hashes.values()):
        problems.append(f"a model has several hashes: {hashes}")
    if len({next(iter(found)) for found in hashes.values()}) != len(hashes):
        problems.append("two models have the same hash")
    return problems
