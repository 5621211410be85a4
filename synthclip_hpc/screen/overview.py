"""The whole pipeline at a glance."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Static

from synthclip_hpc.monitor.notes import notes_of, span
from synthclip_hpc.monitor.parts import Hours
from synthclip_hpc.monitor.snapshot import Snapshot, StageStatus
from synthclip_hpc.screen.pictures import STYLE, heat_line, state_text
from synthclip_hpc.screen.tables import KeyedTable, Pane
from synthclip_hpc.screen.view import View
from synthclip_hpc.stage_order import STAGES

_NARROW = ("stage", "state", "shards", "items/s", "ETA")
_WIDE = ("stage", "state", "shards", "items", "rejected", "items/s", "overall", "ETA", "at full", "hours", "attempts")
_WIDE_FROM = 120
_SIGNS = {"done": "✔", "running": "▶", "pending": "…", "waiting": "…", "partial": "◐", "failed": "✘", "blocked": "✘"}


class Overview(View):
    """The pipeline as a strip, alarms, a line a stage with its heat, and what there is to say of the selected one."""

    name_shown = "Overview"
    help_lines = ("enter: look into the selected stage",)
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Stage", priority=False)]

    def compose(self) -> ComposeResult:
        yield Static(id="strip")
        yield Static(id="alarms")
        yield KeyedTable(id="stages")
        with Pane(id="notes"):
            yield Static(id="note")

    def focus_main(self) -> None:
        self.query_one("#stages").focus()

    def render_snapshot(self, snapshot: Snapshot) -> None:
        self.query_one("#strip", Static).update(strip(snapshot))
        alarms = [Text(f"⚠ {alarm.where}: {alarm.text}", style="bold red") for alarm in snapshot.alarms]
        if alarms:
            alarms.append(Text("3: what has failed   r: go on with what is open   w in Failures: why", style="dim"))
        shown = self.query_one("#alarms", Static)
        shown.update(Text("\n").join(alarms))
        shown.display = bool(alarms)
        table = self.query_one("#stages", KeyedTable)
        is_wide = self.size.width >= _WIDE_FROM
        table.head([*(_WIDE if is_wide else _NARROW), "heat"])
        rows = [(_wide if is_wide else _narrow)(stage) for stage in snapshot.stages]
        room = self._room(rows, _WIDE if is_wide else _NARROW)
        is_first = not table.row_count
        table.show([(*row, heat_line(stage.heat, room)) for row, stage in zip(rows, snapshot.stages, strict=True)])
        if is_first:
            table.select(_of_interest(snapshot))
        self._note()

    def _room(self, rows: list[tuple[str | Text, ...]], headings: tuple[str, ...]) -> int:
        """Return how many characters are left for the heat."""
        widths = [max([len(name), *(len(row[i]) for row in rows)]) for i, name in enumerate(headings)]
        return max(4, self.size.width - sum(widths) - 2 * (len(widths) + 1) - 2)

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
            # Of a stage with one shard, as the training is, shards would say nothing until its end.
            done, total = stage.shards_done, stage.shards_total
            if total == 1 and not done:
                done, total = stage.items_done, stage.items_total
            share = done / total if total else 1.0
            percent = f"{100 * share:.0f}%" if stage.state != "done" else ""
            parts.append(Text(f"{name} {_SIGNS.get(stage.state, '?')}{percent}", style=STYLE.get(stage.state, "")))
    return Text(" → ", style="dim").join(parts)


def _of_interest(snapshot: Snapshot) -> str:
    """Return the stage to begin with: the first that is at work, or failed, else the first."""
    for state in ("running", "failed", "partial", "pending"):
        for stage in snapshot.stages:
            if stage.state == state:
                return stage.name
    return snapshot.stages[0].name if snapshot.stages else ""


def _narrow(stage: StageStatus) -> tuple[str | Text, ...]:
    return (
        stage.name,
        state_text(stage.state),
        f"{stage.shards_done:,}/{stage.shards_total:,}",
        _rate(stage.items_per_s),
        span(stage.eta_now),
    )


def _wide(stage: StageStatus) -> tuple[str | Text, ...]:
    live = f" ({stage.running} live)" if stage.running else ""
    return (
        stage.name,
        state_text(stage.state),
        f"{stage.shards_done:,}/{stage.shards_total:,}",
        f"{stage.items_done:,}/{stage.items_total:,}",
        f"{stage.items_rejected:,}",
        _rate(stage.items_per_s),
        _rate(stage.items_per_s_overall),
        span(stage.eta_now),
        span(stage.eta_full),
        _hours(stage.hours),
        f"{stage.attempts}{live}",
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _hours(hours: Hours | None) -> str:
    if hours is None:
        return "-"
    expected = f"/{hours.expected.high:,.1f}" if hours.expected is not None else ""
    return f"{hours.used:,.1f}{expected} {hours.device}"
