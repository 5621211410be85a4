"""What the report shows beside the run."""

# ruff: noqa: UP045
# Optional[X]: see slurm.py.

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from synthclip_hpc.config.roles import execution


@dataclass(frozen=True)
class ReportConfig:
    """What the report shows beside the run."""

    runs: Optional[str] = execution(None)
    """Other runs to show beside this one, with a comma between: their rows, and points of the scaling plot. The
    run itself may be among them: one list can do for several runs."""
    baseline: Optional[str] = execution(None)
    """Row that Δ_MTL is measured against, as the report's tables name it (default: the paper's CLIP on CC12M)."""
