"""What makes the cells of one attempt, one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.errors import EvalError
from evals.folder import open_folder
from evals.settings import ModelAndData
from sharding.canonical import canonical_json
from sharding.files import make_directory, replace_file
from sharding.marker import Counts
from sharding.plan import Plan
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.cells import is_drawn
from synthclip_hpc.evaluation.fitting import LONG_TAIL
from synthclip_hpc.evaluation.match_counts import captions_of, match_counts
from synthclip_hpc.evaluation.models import Model, words_of
from synthclip_hpc.evaluation.on_node import facts_here, folder_here
from synthclip_hpc.evaluation.places import features_folder, set_folder
from synthclip_hpc.evaluation.results import SUFFIX, planned_cells
from synthclip_hpc.evaluation.reusing import Reuse
from synthclip_hpc.evaluation.running import Work, head_of, record_of
from synthclip_hpc.run import Run
from synthclip_hpc.stages.phase import ShardTask
from synthclip_hpc.training.evaluated_epochs import evaluated_epochs


class Evaluator:
    """Makes cells; used inside of a session of `evals`, which calls `look` between batches. For one thread."""

    def __init__(self, config: RunConfig, run: Run, plan: Plan) -> None:
        """Raises UserError for a run in `eval.reuse` that has no cells."""
        self._config, self._run = config, run
        self._reuse = Reuse(config.eval.reuse)
        self._cells = planned_cells(plan)
        self._models = {one["name"]: Model(**one, size_bytes=0) for one in plan.identity["models"]}
        self._epochs = evaluated_epochs(config.eval.checkpoints, config.train.epochs)
        self._words: dict[str, tuple[str, str]] = {}
        self._task: ShardTask | None = None

    def look(self) -> None:
        """Stop here if the task at hand is to stop."""
        if self._task is not None:
            self._task.safe_point()

    def make(self, task: ShardTask) -> None:
        """Make one cell and publish it. Raises UserError for data and models that are not there, or not as planned."""
        task.resumed(0)
        self._task = task
        cell, began = self._cells[task.shard.index], time.monotonic()
        told = f"{cell['model']}, {cell['dataset']}, {cell['task']}"
        try:
            work = self._work(cell, task)
            record, taken_from = self._record(work)
        except EvalError as error:
            raise UserError(f"{told}: {error}") from error
        output = task.directory.staged_path(task.shard.index, task.attempt, SUFFIX)
        replace_file(output, canonical_json(record))
        seconds = round(time.monotonic() - began, 3)
        task.journal.event("cell", shard=task.shard.index, cell=told, seconds=seconds, taken_from=taken_from)
        task.safe_point()
        task.publish(output, Counts(1, 1, 0, {}))
        self._task = None

    def _record(self, work: Work) -> tuple[dict[str, Any], str | None]:
        if self._reuse and work.match_counts is None:  # other captions, other counts
            model, _, _ = ModelAndData(**work.given()).opened()
            taken = self._reuse.take(head_of(work, model.identity))
            if taken is not None:
                return taken[1], taken[0]
        return record_of(work), None

    def _work(self, cell: Mapping[str, Any], task: ShardTask) -> Work:
        scratch = task.directory.staged_path(task.shard.index, task.attempt, SUFFIX).parent / f"files-{task.attempt}"
        make_directory(scratch)
        folder = self._folder(cell)
        model = self._models[cell["model"]]
        if model.name not in self._words:
            self._words[model.name] = words_of(self._run, self._config.eval, model, self._epochs)
        return Work(
            cell=cell,
            model=model,
            words=self._words[model.name],
            folder=folder,
            facts=facts_here(cell, folder),
            settings=self._config.eval,
            features=features_folder(self._run),
            scratch=scratch,
            match_counts=self._match_counts(folder) if cell["task"] == LONG_TAIL and model.epoch is not None else None,
        )

    def _match_counts(self, folder: Path) -> dict[str, int] | None:
        tables = captions_of(self._run, self._config)
        if tables is None:
            return None
        return match_counts(tables, open_folder(folder).classnames, self._config.balance.case)

    def _folder(self, cell: Mapping[str, Any]) -> Path:
        name = cell["dataset"]
        return set_folder(self._run, name) if is_drawn(cell) else folder_here(self._config.eval, name)
