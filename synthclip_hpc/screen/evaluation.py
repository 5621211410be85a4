"""The matrix of the evaluation, filling with numbers."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from synthclip_hpc.monitor.parts import EvaluationCell
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.screen.pictures import STYLE
from synthclip_hpc.screen.tables import KeyedTable
from synthclip_hpc.screen.view import View


class EvaluationView(View):
    """A line for each data set and task, a column for each model."""

    name_shown = "Evaluation"

    def compose(self) -> ComposeResult:
        yield Static(id="cells-done")
        yield KeyedTable(id="matrix")

    def focus_main(self) -> None:
        self.query_one("#matrix").focus()

    def render_snapshot(self, snapshot: Snapshot) -> None:
        table, evaluation = self.query_one("#matrix", KeyedTable), snapshot.evaluation
        if evaluation is None:
            self.query_one("#cells-done", Static).update(Text("no evaluation is laid out yet", style="dim"))
            return
        done = f"{evaluation.cells_done} of {len(evaluation.cells)} cells are done; numbers in percent"
        self.query_one("#cells-done", Static).update(done)
        models, rows = matrix(evaluation.cells)
        table.head(["data set, task", *models])
        table.show(rows)


def matrix(cells: Sequence[EvaluationCell]) -> tuple[list[str], list[tuple[str | Text, ...]]]:
    """Return the models, and a row for each data set and task: its name, and what each model has there."""
    models = list(dict.fromkeys(cell.model for cell in cells))
    found = {(cell.dataset, cell.task, cell.model): cell for cell in cells}
    lines = list(dict.fromkeys((cell.dataset, cell.task) for cell in cells))
    return models, [
        (f"{dataset}, {task}", *(_shown(found.get((dataset, task, model))) for model in models))
        for dataset, task in lines
    ]


def _shown(cell: EvaluationCell | None) -> Text:
    if cell is None:
        return Text("")
    if cell.state == "done" and cell.value is not None:
        return Text(f"{100 * cell.value:.1f} {cell.main}")
    return Text(cell.state, style=STYLE.get(cell.state, ""))
