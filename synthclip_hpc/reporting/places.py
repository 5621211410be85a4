"""Where a report lies, and which stages it tells of."""

from __future__ import annotations

from synthclip_hpc.stage_order import STAGES

FOLDER = "report"
"""Below the run directory."""
PAGE = "report.html"
MARKDOWN = "report.md"
TABLES = "tables"
PLOTS = "plots"
"""Plots and sheets."""
LIST = ".files.json"
"""Which files reports have written into the folder, with their hashes."""
TOLD_STAGES = tuple(stage for stage in STAGES if stage != "report")
"""A report does not tell of its own making."""
