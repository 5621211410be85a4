"""Stage `report`: one page that shows what the run came to, beside the paper and beside other runs.

One task. It builds on no phase in particular: in a chain it comes last and finds all there is, and of a run with a few
stages only it tells of these. What people read is in `report/`; the phase's own output is a list of what was shown.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from synthclip_hpc.config import RunConfig
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    from sharding.directory import PhaseDirectory
    from synthclip_hpc.place import Place
    from synthclip_hpc.run import Run

SUFFIX = ".json"


def _reporting(module: str) -> Any:
    """Return a module of the package that makes reports: it looks at all stages, so they must not import it."""
    return importlib.import_module(f"synthclip_hpc.reporting.{module}")


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One task; what it shows beside the run (`report.*`) may change at any time."""
    return Plan(stage="report", phase="page", kind="reduce", num_items=1, shard_items=1, suffix=SUFFIX, identity={})


@contextmanager
def open_reporter(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that writes the report."""

    def process(task: ShardTask) -> None:
        task.resumed(0)
        path = task.directory.staged_path(0, task.attempt, SUFFIX)
        # Below `partial`, which goes when the phase is sealed; the name is none of a shard's own work files.
        staged = task.directory.path / "partial" / f"report-{task.attempt}"
        _reporting("stage").make(config, run, path, staged, task.safe_point)
        task.publish(path, Counts(1, 1, 0, {}))

    yield process


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished list is whole. Raises ValueError when it is not."""
    _reporting("listing").read_listing(path)
    return Counts(1, 1, 0, {})


def fault_of_report(run: Run) -> str | None:
    """Return which file of the report is gone, None when it is there."""
    reason: str | None = _reporting("stage").fault(run)
    return reason


def check_place(config: RunConfig, place: Place) -> None:
    """Raise UserError when packages are missing where the report is to be made."""
    _reporting("preflight").check_place(place)


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of the one task."""
    return Estimate((1e3, 1e5), (3, 120), "measured: 5 s for a run of 1,000 images, one core")


def summary(directory: PhaseDirectory, plan: Plan) -> list[str]:
    """Return where the report is, and whether results have come since it was made."""
    from synthclip_hpc.run import Run

    lines: list[str] = _reporting("stage").told(Run(directory.path.parent.parent), directory.data_path(0, plan.suffix))
    return lines


PHASE = Phase(
    stage="report",
    name="page",
    kind="reduce",
    upstream=lambda config: (),
    layout=layout,
    open=open_reporter,
    inspect=inspect,
    estimate=estimate,
    # What it finds depends on when it is made.
    promise=lambda config: "items",
    made_again_with=(("balance", "coverage"), ("render", "draw"), ("train", "fit"), ("eval", "cells")),
    fault_beside=fault_of_report,
    check_place=check_place,
    summary=summary,
)

PHASES = (PHASE,)
