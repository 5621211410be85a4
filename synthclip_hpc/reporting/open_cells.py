"""Which cells of an evaluation are not there, and why: from its plan, its state, and the journals' last errors."""

from __future__ import annotations

from sharding.journal import read_events
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.reporting.blocks import Row, Table, Value
from synthclip_hpc.reporting.naming import task_title
from synthclip_hpc.reporting.portable import portable
from synthclip_hpc.run import Run

_STATES = {"pending": "open", "unreadable": "damaged: run verify"}
"""States of a cell that a report has other words for."""


def open_cells_table(run: Run, snapshot: Snapshot) -> Table | None:
    """Return the table, failed cells first; None when every planned cell is there, or none is planned."""
    cells = [] if snapshot.evaluation is None else [one for one in snapshot.evaluation.cells if one.state != "done"]
    if not cells:
        return None
    errors = last_errors(run)
    rows = []
    for cell in sorted(cells, key=lambda one: one.state != "failed"):
        error = errors.get(cell.shard, "").removeprefix(f"{cell.model}, {cell.dataset}, {cell.task}: ")
        state = _STATES.get(cell.state, cell.state)
        shown = (cell.model, cell.dataset, task_title(cell.task), state, str(portable(error)))
        rows.append(Row(tuple(Value(text) for text in shown)))
    head = ("Model", "Data set", "Task", "State", "Last error")
    title = f"Not evaluated: {len(cells):,} of {len(snapshot.evaluation.cells if snapshot.evaluation else ()):,} cells"
    return Table("open-cells", title, head, tuple(rows), num_text_columns=len(head))


def last_errors(run: Run) -> dict[int, str]:
    """Return the message of the last error of each cell that has had one, by shard."""
    directory = run.phase("eval", "cells")
    found: dict[int, tuple[float, str]] = {}
    for attempt in directory.attempts():
        for event in read_events(directory.journal_path(attempt))[0]:
            shard, at = event.get("shard"), event.get("time")
            if event["event"] != "shard_failed" or not isinstance(shard, int) or not isinstance(at, int | float):
                continue
            found[shard] = max(found.get(shard, (0.0, "")), (float(at), str(event.get("message", ""))))
    return {shard: message for shard, (_, message) in found.items()}
