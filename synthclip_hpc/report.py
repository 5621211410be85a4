"""`python -m synthclip_hpc.report run=RUN`: the report of a run as it stands, written anew.

At any time, also while the run is at work, and of a run with a few stages only: what is not there is told as missing.
`report.runs=A,B` puts other runs beside it, `report.baseline=NAME` chooses the row that Δ_MTL is measured against.
"""

# ruff: noqa: UP045
# Optional[X]: see config.py.

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Optional

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import run_command

PROG = "python -m synthclip_hpc.report"


@dataclass(frozen=True)
class ReportOptions(RunOptions):
    """Options of `report`."""

    runs: Optional[str] = None
    """Other runs to show beside this one, with a comma between (default: report.runs of the run)."""
    baseline: Optional[str] = None
    """Row that Δ_MTL is measured against, as the report's tables name it (default: the run's report.baseline, else the
    paper's CLIP on CC12M)."""
    out: Optional[str] = None
    """Folder to write to (default: report/ in the run directory). Files in it that no report has written stay as they
    are; one that is in the way is a mistake."""


def report(argv: list[str]) -> int:
    """Write the report and print where it is; return the exit code."""
    options = parse_run_options(ReportOptions, argv, PROG, "Write the report of a run as it stands.")
    run = existing_run(options.run)
    from synthclip_hpc.paths import path_of
    from synthclip_hpc.reporting.build import build_report
    from synthclip_hpc.reporting.places import FOLDER
    from synthclip_hpc.reporting.writing import write_report

    own = run.path / FOLDER
    out = path_of("out", options.out) if options.out else own
    configured = run.load_config().report
    built = build_report(run, options.runs or configured.runs, options.baseline or configured.baseline)
    page = write_report(built, out, is_own=out.resolve() == own.resolve())
    print(f"report: {page}")
    print("beside it: report.md, tables/ (CSV, LaTeX), plots/ (PNG, SVG)")
    return 0


def main() -> int:
    """Entry point."""
    return run_command(report)


if __name__ == "__main__":
    sys.exit(main())
