"""Logs, followed in place; attempts as tabs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Log, Static, Tab, Tabs

from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.screen.following import LINES, LogFile
from synthclip_hpc.screen.view import View, phases

TRACEBACK = "Traceback (most recent call last)"
_READ_EVERY_S = 1.0
_TABS_AT_FIRST = 6


class LogLines(Log):
    """The lines, with the keys of vim."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g", "scroll_home", show=False),
        Binding("ctrl+d", "page_down", show=False),
        Binding("ctrl+u", "page_up", show=False),
    ]


class LogView(View):
    """The logs of attempts. An element's log goes on over its restarts, so that attempts may share one."""

    name_shown = "Log"
    help_lines = (
        "h l: the tab before, the next one   x: close the tab",
        "t T: the next traceback, the one before",
        "f or G: go to the end and follow; scrolling up stops it",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "traceback(1)", "Traceback"),
        Binding("T", "traceback(-1)", show=False),
        Binding("f,G", "follow", "Follow", key_display="f"),
        Binding("h,left", "tab(-1)", "Tab before", show=False),
        Binding("l,right", "tab(1)", "Tab", key_display="h l"),
        Binding("x", "close", "Close"),
    ]

    def __init__(self, **options: str) -> None:
        super().__init__(**options)
        self._files: dict[str, LogFile] = {}
        """By attempt."""
        self._shown: LogFile | None = None
        self._asked = False

    def compose(self) -> ComposeResult:
        tabs = Tabs(id="attempt-tabs")
        tabs.can_focus = False
        yield tabs
        yield Static(id="log-path", markup=False)
        yield LogLines(id="lines", max_lines=LINES, highlight=False)

    def on_mount(self) -> None:
        self.set_interval(_READ_EVERY_S, self._read)

    def focus_main(self) -> None:
        self.query_one("#lines").focus()

    def render_snapshot(self, snapshot: Snapshot) -> None:
        if self._files or self._asked:
            return
        self._asked = True
        lives = [(key, life) for key, phase in phases(snapshot).items() for life in phase.lives]
        lives.sort(key=lambda one: (one[1].state == "running", one[1].started or 0.0), reverse=True)
        for key, life in reversed(lives[:_TABS_AT_FIRST]):
            self.open(key, life.name, life.submission)
        if not lives:
            self._tell("no attempt has begun")
            self._asked = False

    def open(self, phase: str, attempt: str, submission: str) -> None:
        """Show an attempt's log in a tab of its own."""
        stage = phase.partition("/")[0]
        self.ask(lambda feed: feed.log(stage, submission, attempt), lambda path: self._open(attempt, path))

    async def _open(self, attempt: str, path: Path | None) -> None:
        if path is None:
            self.app.notify(f"{attempt} has no log of its own")
            return
        tabs = self.query_one(Tabs)
        if attempt not in self._files:
            self._files[attempt] = LogFile(path)
            await tabs.add_tab(Tab(attempt, id=_tab_id(attempt)))
        tabs.active = _tab_id(attempt)

    @on(Tabs.TabActivated)
    def _show_tab(self, event: Tabs.TabActivated) -> None:
        event.stop()
        attempt = str(event.tab.label)
        self._shown = self._files.get(attempt)
        lines = self.query_one(LogLines)
        lines.clear()
        lines.auto_scroll = True
        if self._shown is not None:
            self._tell(str(self._shown.path))
            lines.write_lines(list(self._shown.lines))
            self._read()

    def _read(self) -> None:
        shown = self._shown
        if shown is not None and self.app.is_in_sight(self):
            self.ask(lambda _: _read_quietly(shown), lambda told: self._take(shown, told))

    def _take(self, file: LogFile, told: list[str] | str) -> None:
        if file is not self._shown:
            return  # its lines are kept, and are shown with its tab
        if isinstance(told, str):
            self._tell(told)
        elif told:
            lines = self.query_one(LogLines)
            lines.write_lines(told, scroll_end=lines.auto_scroll)

    def _tell(self, text: str) -> None:
        self.query_one("#log-path", Static).update(text)

    def action_traceback(self, step: int) -> None:
        lines = self.query_one(LogLines)
        found = [number for number, line in enumerate(lines.lines) if TRACEBACK in line]
        here = int(lines.scroll_y)
        after = [number for number in found if (number > here if step > 0 else number < here)]
        if not found:
            self.app.notify("no traceback in these lines")
            return
        lines.auto_scroll = False
        # The end of the log may leave no room to bring the next one to the top.
        is_at_end = here >= lines.max_scroll_y
        goal = found[0] if step > 0 and (is_at_end or not after) else (after or found)[0 if step > 0 else -1]
        lines.scroll_to(y=goal, animate=False)

    def action_follow(self) -> None:
        lines = self.query_one(LogLines)
        lines.auto_scroll = True
        lines.scroll_end(animate=False)

    def on_mouse_scroll_up(self) -> None:
        self.query_one(LogLines).auto_scroll = False

    def action_tab(self, step: int) -> None:
        tabs = self.query_one(Tabs)
        tabs.action_next_tab() if step > 0 else tabs.action_previous_tab()

    def action_close(self) -> None:
        tabs = self.query_one(Tabs)
        if tabs.active_tab is not None:
            self._files.pop(str(tabs.active_tab.label), None)
            tabs.remove_tab(tabs.active_tab.id)
        if not self._files:
            self._shown = None
            self.query_one(LogLines).clear()
            self._tell("no log is open: o on an attempt or shard (2 Stage) or on a group (3 Failures) opens one")


def _read_quietly(file: LogFile) -> list[str] | str:
    try:
        return file.read()
    except FileNotFoundError:
        return f"{file.path}: not there (yet, or clean has removed it)"
    except OSError as error:
        return f"{file.path}: {error.strerror}"


def _tab_id(attempt: str) -> str:
    return "attempt-" + "".join(one if one.isalnum() else "-" for one in attempt)
