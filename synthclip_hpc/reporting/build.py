"""From a run, or what there is of it so far, to all that its report tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from synthclip_hpc.reporting.bill import bill_of
from synthclip_hpc.reporting.bill_section import bill_section
from synthclip_hpc.reporting.blocks import Report, Section
from synthclip_hpc.reporting.coverage_section import coverage_section
from synthclip_hpc.reporting.overview_section import overview_section
from synthclip_hpc.reporting.paper_section import paper_section
from synthclip_hpc.reporting.places import TOLD_STAGES
from synthclip_hpc.reporting.provenance_section import provenance_section
from synthclip_hpc.reporting.results_section import results_section
from synthclip_hpc.reporting.runs import begun_on, run_id, told_runs
from synthclip_hpc.reporting.samples_section import samples_section
from synthclip_hpc.reporting.scaling_section import scaling_section
from synthclip_hpc.reporting.training_section import training_section
from synthclip_hpc.run import Run

if TYPE_CHECKING:
    from synthclip_hpc.monitor.snapshot import Snapshot


def build_report(
    run: Run, others: str | None = None, baseline: str | None = None, safe_point: Callable[[], None] = lambda: None
) -> Report:
    """Return the report of a run as it stands; `others` and `baseline` are `report.runs` and `report.baseline`.

    `safe_point` is called between sections. Raises UserError for a baseline that no row is called by, for other runs
    that are none, for a damaged output, and for a missing package.
    """
    told = told_runs(run, others)
    config = told[0].config
    stages = TOLD_STAGES
    snapshot = _snapshot(run)
    bills = bill_of(run, stages)
    parts: tuple[Callable[[], Section | None], ...] = (
        lambda: overview_section(told[0], snapshot),
        lambda: results_section(told),
        lambda: samples_section(run),
        lambda: paper_section(told, baseline),
        lambda: scaling_section(told),
        lambda: training_section(run, config),
        lambda: coverage_section(run),
        lambda: bill_section(bills, snapshot),
        lambda: provenance_section(told[0], bills, stages),
    )
    sections = []
    for part in parts:
        safe_point()
        if (section := part()) is not None:
            sections.append(section)
    identity = run_id(run)
    beside = f", beside {', '.join(one.name for one in told[1:])}" if told[1:] else ""
    subtitle = ", ".join(filter(None, (f"run {identity}" if identity else "", begun_on(run)))) + beside
    return Report(told[0].name, subtitle, tuple(sections))


def _snapshot(run: Run) -> Snapshot:
    """Return the state of the run; of Slurm it asks what it needs, and goes on without an answer."""
    from synthclip_hpc.launch.environment import use_latest
    from synthclip_hpc.monitor.watcher import Watcher
    from synthclip_hpc.submissions import all_submissions

    use_latest(all_submissions(run))
    return Watcher(run).look()
