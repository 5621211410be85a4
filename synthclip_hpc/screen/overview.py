"""The whole pipeline at a glance."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Static

from synthclip_hpc.monitor.notes import notes_of
from synthclip_hpc.monitor.short import percent_done
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.screen.pictures import STYLE, heat_line
from synthclip_hpc.screen.stage_columns import fit_columns
from synthclip_hpc.screen.tables import KeyedTable, Pane
from synthclip_hpc.screen.view import View
from synthclip_hpc.stage_order import STAGES

_PRESS = "3: what has failed   r: go on with what is open   w in Failures: why"
_STRIP_FROM = 40
"""Narrower than so many characters the strip would take the room of the table."""
_SIGNS = {"done": "✔", "running": "▶", "pending": "…", "waiting": "…", "partial": "◐", "failed": "✘", "blocked": "✘"}


class Overview(View):
    """The pipeline as a strip, alarms, a line a stage with its heat, and what there is to say of the selected one."""

    name_shown = "Overview"
    help_lines = ("enter: look into the selected stage",)
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Stage", priority=False)]

    def compose(self) -> ComposeResult:
        yield Static(id="strip")
        yield Static(id="alarms")
        yield Static(id="press")
        yield KeyedTable(id="stages", has_few_rows=True)
        with Pane(id="notes"):
            yield Static(id="note")

    def focus_main(self) -> None:
        self.query_one("#stages").focus()

    def render_snapshot(self, snapshot: Snapshot) -> None:
        pipeline = self.query_one("#strip", Static)
        pipeline.update(strip(snapshot))
        pipeline.display = self.size.width >= _STRIP_FROM
        alarms = [Text(f"⚠ {alarm.where}: {alarm.text}", style="bold red") for alarm in snapshot.alarms]
        shown, press = self.query_one("#alarms", Static), self.query_one("#press", Static)
        shown.update(Text("\n").join(alarms))
        # A line of its own: where there is no room for all alarms, it is still there.
        count = f"{len(alarms)} alarms; " if len(alarms) > 1 else ""
        press.update(f"{count}{_PRESS}")
        shown.display = press.display = bool(alarms)
        table = self.query_one("#stages", KeyedTable)
        fitted = fit_columns(snapshot.stages, self.size.width)
        is_first = not table.row_count
        table.head([*fitted.headings, "heat"])
        heats = [heat_line(stage.heat, fitted.heat_width) for stage in snapshot.stages]
        table.show([(*row, heat) for row, heat in zip(fitted.rows, heats, strict=True)])
        if is_first:
            table.select(_of_interest(snapshot))
        self._note()

    @on(DataTable.RowHighlighted)
    def _note(self) -> None:
        snapshot, selected = self.snapshot, self.query_one("#stages", KeyedTable).selected
        stage = next((one for one in snapshot.stages if one.name == selected), None) if snapshot is not None else None
        lines: list[Text] = []
        if snapshot is not None and stage is not None:
            lines = [Text(stage.name, style="bold"), *map(Text, notes_of(stage, snapshot))]
            if len(lines) == 1:
                lines.append(Text("nothing to say of it", style="dim"))
        elif snapshot is not None and not snapshot.stages:
            lines = [Text("nothing has started yet")]
        self.query_one("#note", Static).update(Text("\n").join(lines))

    @on(DataTable.RowSelected)
    def action_open(self) -> None:
        selected = self.query_one("#stages", KeyedTable).selected
        if selected is not None:
            self.app.open_stage(selected)


def strip(snapshot: Snapshot) -> Text:
    """Return the pipeline in a line: every stage there is, those without a plan dim."""
    known = {stage.name: stage for stage in snapshot.stages}
    parts = []
    for name in STAGES:
        stage = known.get(name)
        if stage is None:
            parts.append(Text(f"{name} ·", style="dim"))
        else:
            percent = f"{percent_done(stage)}%" if stage.state != "done" and stage.shards_total else ""
            parts.append(Text(f"{name} {_SIGNS.get(stage.state, '?')}{percent}", style=STYLE.get(stage.state, "")))
    return Text(" → ", style="dim").join(parts)


def _of_interest(snapshot: Snapshot) -> str:
    """Return the stage to begin with: the first that is at work, or failed, else the first."""
    for state in ("running", "failed", "partial", "pending"):
        for stage in snapshot.stages:
            if stage.state == state:
                return stage.name
    return snapshot.stages[0].name if snapshot.stages else ""
