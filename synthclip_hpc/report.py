"""`python -m synthclip_hpc.report run=RUN`: the report of a run as it stands, written anew.

At any time, also while the run is at work, and of a run with a few stages only: what is not there is told as missing.
`report.runs=A,B` puts other runs beside it, `report.baseline=NAME` chooses the row that Δ_MTL is measured against;
`runs=` and `baseline=` are short for them.
"""

# ruff: noqa: UP045
# Optional[X]: see config.py.

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Optional

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.config import ReportConfig
from synthclip_hpc.errors import UserError, run_command

PROG = "python -m synthclip_hpc.report"


@dataclass(frozen=True)
class ReportOptions(RunOptions):
    """Options of `report`."""

    report: ReportConfig = field(default_factory=ReportConfig)
    runs: Optional[str] = None
    """Short for report.runs (default: that of the run)."""
    baseline: Optional[str] = None
    """Short for report.baseline (default: that of the run, else the paper's CLIP on CC12M)."""
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
    from synthclip_hpc.reporting.runs import names_itself
    from synthclip_hpc.reporting.writing import write_report

    own = run.path / FOLDER
    out = path_of("out", options.out) if options.out else own
    configured = run.load_config().report
    others = _given("runs", options.runs, options.report.runs) or configured.runs
    baseline = _given("baseline", options.baseline, options.report.baseline) or configured.baseline
    built = build_report(run, others, baseline)
    page = write_report(built, out, is_own=out.resolve() == own.resolve())
    if names_itself(run, others):
        print(f"report.runs={others}: the run itself is among them; it stands in its report once")
    print(f"report: {page}")
    print("beside it: report.md, tables/ (CSV, LaTeX), plots/ (PNG, SVG)")
    return 0


def _given(name: str, short: str | None, long: str | None) -> str | None:
    """Return what was given in one of the two spellings. Raises UserError for two different values."""
    if short and long and short != long:
        raise UserError(f"{name}={short} and report.{name}={long}: they mean the same; give one of them")
    return short or long


def main() -> int:
    """Entry point."""
    return run_command(report)


if __name__ == "__main__":
    sys.exit(main())
