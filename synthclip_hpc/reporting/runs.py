"""The runs that a report tells of: this one, and those that stand beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.results import Cell, read_cells
from synthclip_hpc.paths import path_of
from synthclip_hpc.reporting.portable import portable
from synthclip_hpc.reporting.scores import Scores, scores_of_cells
from synthclip_hpc.run import Run


@dataclass(frozen=True)
class Model:
    """One evaluated model of a run."""

    run: str
    name: str
    epoch: int | None
    cells: tuple[Cell, ...]
    scores: Scores

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.scores.name


@dataclass(frozen=True)
class ToldRun:
    """A run and what was found out about it; everything is read when it is first asked for."""

    run: Run
    name: str
    """The name of its folder, made unique among the runs of a report."""
    alone: bool
    """Whether there are no other runs: then a model needs no run's name before its own."""

    @cached_property
    def config(self) -> RunConfig:
        return self.run.load_config()

    @cached_property
    def cells(self) -> list[Cell]:
        return read_cells(self.run)

    @cached_property
    def models(self) -> list[Model]:
        """The evaluated models, in the order of the cells."""
        by_model: dict[str, list[Cell]] = {}
        for cell in self.cells:
            by_model.setdefault(cell.model, []).append(cell)
        models = []
        for name, cells in by_model.items():
            title = portable(name) if self.alone else f"{self.name} {portable(name)}"
            models.append(Model(self.name, name, cells[0].epoch, tuple(cells), scores_of_cells(title, cells)))
        return models

    @property
    def last_model(self) -> Model | None:
        """The run's own model after the most epochs; None when none of its own was evaluated."""
        own = [model for model in self.models if model.epoch is not None]
        return max(own, key=lambda model: model.epoch or 0, default=None)

    @property
    def newest_model(self) -> Model | None:
        """What the run is known by: its own last model, else the first from elsewhere."""
        return self.last_model or (self.models[0] if self.models else None)

    @cached_property
    def training_samples(self) -> int | None:
        """Samples of the data set that it trains on; None when it is not there yet."""
        from synthclip_hpc.stages.train.size import samples_an_epoch

        return samples_an_epoch(self.config, self.run)


def told_runs(run: Run, others: str | None) -> list[ToldRun]:
    """Return this run and the others that `report.runs` names, in that order; this one, where it is named, once.

    Raises UserError for one that is none.
    """
    found = [run]
    for word in _named(others):
        other = Run(path_of("report.runs", word).absolute())
        if not other.exists():
            raise UserError(
                f"report.runs={others}: {word} is no run (it has no run.toml); name folders of "
                "runs, with a comma between"
            )
        if other.path.resolve() not in {one.path.resolve() for one in found}:
            found.append(other)
    names = _unique([one.path.name or "run" for one in found])
    return [ToldRun(one, name, alone=len(found) == 1) for one, name in zip(found, names, strict=True)]


def names_itself(run: Run, others: str | None) -> bool:
    """Tell whether a run is among the others that `report.runs` names."""
    return run.path.resolve() in {path_of("report.runs", word).resolve() for word in _named(others)}


def _named(others: str | None) -> list[str]:
    return [word for one in (others or "").split(",") if (word := one.strip())]


def _unique(names: Sequence[str]) -> list[str]:
    """Number names that come again: `run`, `run (2)`."""
    counts: dict[str, int] = {}
    unique = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        unique.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return unique


def run_id(run: Run) -> str | None:
    """Return the eight digits that tell this run from others; None when its provenance is damaged."""
    found = _provenance(run).get("run_id")
    return None if found is None else str(found)


def begun_on(run: Run) -> str:
    """Return the day on which the run was begun, in words; empty when it is not known."""
    created = _provenance(run).get("created")
    at = created.get("time") if isinstance(created, dict) else None
    return f"begun {time.strftime('%-d %B %Y', time.gmtime(at))}" if isinstance(at, int | float) else ""


def _provenance(run: Run) -> dict[str, Any]:
    try:
        value = json.loads(run.provenance_path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
