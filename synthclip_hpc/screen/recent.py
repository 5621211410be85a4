"""The user's recent runs, a line each; one of them is taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Static

from synthclip_hpc.monitor.notes import duration
from synthclip_hpc.monitor.summary import RunLine
from synthclip_hpc.screen.app import Answer
from synthclip_hpc.screen.ending import end_on_signals
from synthclip_hpc.screen.helper import Helper
from synthclip_hpc.screen.names import short_paths
from synthclip_hpc.screen.pictures import STYLE
from synthclip_hpc.screen.style import CSS as STYLES
from synthclip_hpc.screen.tables import KeyedTable

_COLUMNS = ("run", "state")
_NO_RUN = "None of your recent runs is there any more.\nA run: status run=DIRECTORY   A recorded one: status demo=true"
_TICK_S = 1.0
_SLOW_S = 3.0
"""A look that takes longer is told of."""
_MARGINS = 6
"""Characters around two columns, and for the scroll bar."""
_LEAST_ROOM = 6


class RecentScreen(App[Path]):
    """Returns the run that was chosen, None when none was."""

    CSS = STYLES
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", priority=True),
        Binding("u", "look", "Look again"),
        Binding("d", "theme", "Light", show=False),
        Binding("q,escape,ctrl+q", "leave", "Leave", key_display="q"),
        Binding("ctrl+c", "leave", show=False, priority=True),
    ]

    def __init__(self, runs: Sequence[Path], describe: Callable[[Path], RunLine | None]) -> None:
        """`describe` says how a run is, None where it is gone; it is called in a thread, one run after the other."""
        super().__init__()
        self.describe = describe
        self._lines: dict[Path, RunLine | None] = dict.fromkeys(runs)
        """None: not looked at yet."""
        self._width = self.size.width
        self._names: dict[str, Path] = {}
        """The runs by what they are called in the table."""
        self._open: list[Path] = []
        """To be looked at, the one that is at its turn first."""
        self._since = time.monotonic()
        """When that one's turn came."""
        self._helper = Helper(lambda then, value: self.post_message(Answer(then, value)))

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        yield KeyedTable(*_COLUMNS, id="recent")
        yield Static(id="chosen", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        end_on_signals(self)
        self.query_one("#recent").focus()
        self.set_interval(_TICK_S, self._head)
        self.action_look()

    def on_resize(self, event: events.Resize) -> None:
        self._width = event.size.width
        if self.query("#recent"):
            self._show(anew=True)

    @property
    def selected(self) -> Path | None:
        """The run under the cursor."""
        return self._names.get(self.query_one("#recent", KeyedTable).selected or "")

    def _ask(self, run: Path) -> None:
        self._helper.ask(lambda: self.describe(run), lambda line: self._take(run, line), _raise)

    def _take(self, run: Path, line: RunLine | None) -> None:
        self._open.remove(run)
        self._since = time.monotonic()
        if line is None:
            self._lines.pop(run, None)
        else:
            self._lines[run] = line
        self._show()

    def _show(self, anew: bool = False) -> None:
        """`anew`: the names may have got longer or shorter."""
        table, selected = self.query_one("#recent", KeyedTable), self.selected
        if anew or not self._names:
            self._names = short_paths(self._lines, max(_LEAST_ROOM, (self._width - _MARGINS) * 2 // 5))
            table.head(())
            table.head(_COLUMNS)
        names = {name: path for name, path in self._names.items() if path in self._lines}
        room = max(_LEAST_ROOM, self._width - _MARGINS - max(map(len, names), default=0))
        table.show([(name, _state(self._lines[path], room)) for name, path in names.items()])
        if anew and selected is not None:
            table.select(next((name for name, path in names.items() if path == selected), ""))
        table.display = bool(names)
        self._tell_chosen()
        self._head()

    @on(DataTable.RowHighlighted)
    def _tell_chosen(self) -> None:
        """Show the selected run in full: in its line there is not room for all."""
        selected, text = self.selected, Text()
        line = self._lines.get(selected) if selected is not None else None
        if not self._lines:
            text.append(_NO_RUN)
        elif selected is not None:
            text.append(str(selected), "bold")
            text.append(f"\n{line.text if line is not None else 'not looked at yet'}")
        self.query_one("#chosen", Static).update(text)

    def _head(self) -> None:
        text = Text(f" {len(self._lines)} recent run{'s' if len(self._lines) != 1 else ''} ", style="bold")
        if self._open:
            text.append(f" {len(self._lines) - len(self._open)} looked at", "dim")
            waited_s = time.monotonic() - self._since
            if waited_s > _SLOW_S:
                text.append("  ").append(f" {self._open[0]} for {duration(waited_s)} ", "reverse")
        self.query_one("#head", Static).update(text)

    @on(Answer)
    def _answered(self, answer: Answer) -> None:
        if self.is_running:  # else it is closing: the table is gone
            answer.then(answer.value)

    def action_look(self) -> None:
        if self._open:
            return
        self._open, self._since = list(self._lines), time.monotonic()
        for run in self._lines:
            self._ask(run)
        self._show()

    def action_theme(self) -> None:
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    @on(DataTable.RowSelected)
    def action_open(self) -> None:
        if self.selected is not None:
            self.exit(self.selected)

    def action_leave(self) -> None:
        self.exit(None)


def _state(line: RunLine | None, room: int) -> Text:
    if line is None:
        return Text("…", style="dim")
    text = Text(" ".join(line.text.split()), style=STYLE.get(line.state, ""))
    text.truncate(room, overflow="ellipsis")
    return text


def _raise(error: Exception) -> None:
    """A bug, as what is wrong with a run is told in its line: the terminal is put right, and it says where."""
    raise error
