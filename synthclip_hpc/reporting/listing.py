"""The list of what a report told of: the phase's one output, which follows from the run's results alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json, fingerprint
from sharding.seal import load_seal
from synthclip_hpc.evaluation.results import read_cells
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.reporting.blocks import Report
from synthclip_hpc.run import Run

SCHEMA = 1


def listing(report: Report, run: Run, stages: Sequence[str]) -> bytes:
    """Return the sections and tables that were shown, and the hashes of the results that they tell of."""
    return canonical_json(
        {
            "schema": SCHEMA,
            "sections": [section.name for section in report.sections],
            "tables": [table.name for table in report.tables()],
            "plots": [plot.name for plot in report.plots()],
            "results": results_of(run, stages),
        }
    )


def results_of(run: Run, stages: Sequence[str]) -> dict[str, str]:
    """Return a hash for each finished phase: its seal's, and of `eval/cells` one over the cells less their provenance.

    Two runs with equal results have equal hashes, however often they were interrupted.
    """
    found = {}
    for stage in stages:
        for phase in phases_of(stage):
            seal = load_seal(run.phase(stage, phase.name))
            if seal is not None and phase.key != "eval/cells":
                found[phase.key] = seal.hash
    cells = [{key: value for key, value in cell.record.items() if key != "provenance"} for cell in read_cells(run)]
    return found | ({"eval/cells": fingerprint(cells)} if cells else {})


def read_listing(path: Path) -> dict[str, Any]:
    """Read a list. Raises ValueError for a damaged one and one of another version."""
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or not isinstance(value.get("results"), dict):
        raise ValueError(f"{path} is no list of what a report shows")
    return value
