"""What the phase `report/page` does; the stage's module finds it by name, as a report looks at all stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sharding.files import write_file
from synthclip_hpc.config import RunConfig
from synthclip_hpc.reporting.build import build_report
from synthclip_hpc.reporting.listing import listing, read_listing, results_of
from synthclip_hpc.reporting.places import FOLDER, MARKDOWN, PAGE, TOLD_STAGES
from synthclip_hpc.reporting.writing import write_report
from synthclip_hpc.run import Run


def make(config: RunConfig, run: Run, path: Path, staged: Path, safe_point: Callable[[], None]) -> None:
    """Write the list of what is shown to `path`, and the report into its folder by way of the fresh folder `staged`."""
    report = build_report(run, config.report.runs, config.report.baseline, safe_point)
    write_file(path, listing(report, run, TOLD_STAGES))
    safe_point()
    write_report(report, run.path / FOLDER, staged, is_own=True)


def fault(run: Run) -> str | None:
    """Return which file of the report is gone, None when it is there; what it says may have been written anew since."""
    gone = [name for name in (PAGE, MARKDOWN) if not (run.path / FOLDER / name).is_file()]
    return f"{run.path / FOLDER / gone[0]} is gone" if gone else None


def told(run: Run, path: Path) -> list[str]:
    """Return where the report is, and whether results have come since the list at `path` was made."""
    lines = [f"report:  {run.path / FOLDER / PAGE}"]
    shown, now = read_listing(path)["results"], results_of(run, TOLD_STAGES)
    if newer := [key for key in now if now[key] != shown.get(key)]:
        lines.append(f"it was made before {', '.join(newer)}; anew: python -m synthclip_hpc.report run={run.path}")
    return lines
