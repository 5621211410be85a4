"""The user's recent runs, a line each; one of them is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Static

from synthclip_hpc.screen.app import Answer
from synthclip_hpc.screen.helper import Helper
from synthclip_hpc.screen.style import CSS as STYLES
from synthclip_hpc.screen.tables import KeyedTable


class RecentScreen(App[Path]):
    """Returns the run that was chosen, None when none was."""

    CSS = STYLES
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", priority=True),
        Binding("q,escape,ctrl+c,ctrl+q", "leave", "Leave", key_display="q"),
    ]

    def __init__(self, runs: Sequence[Path], describe: Callable[[Path], str]) -> None:
        """`describe` says in a line how a run is; it is called in a thread, one run after the other."""
        super().__init__()
        self.runs, self.describe = runs, describe
        self._lines = {str(run): "…" for run in runs}
        self._helper = Helper(lambda then, value: self.post_message(Answer(then, value)))

    def compose(self) -> ComposeResult:
        yield Static(Text(" recent runs", style="bold"), id="head")
        yield KeyedTable("run", "state", id="recent")
        yield Footer()

    def on_mount(self) -> None:
        self._show()
        self.query_one("#recent").focus()
        for run in self.runs:
            self._ask(run)

    def _ask(self, run: Path) -> None:
        self._helper.ask(lambda: self.describe(run), lambda line: self._take(run, line), lambda _: None)

    def _take(self, run: Path, line: str) -> None:
        self._lines[str(run)] = line
        self._show()

    def _show(self) -> None:
        self.query_one("#recent", KeyedTable).show(list(self._lines.items()))

    @on(Answer)
    def _answered(self, answer: Any) -> None:
        answer.then(answer.value)

    @on(DataTable.RowSelected)
    def action_open(self) -> None:
        selected = self.query_one("#recent", KeyedTable).selected
        self.exit(Path(selected) if selected is not None else None)

    def action_leave(self) -> None:
        self.exit(None)
