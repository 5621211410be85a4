"""The screen: one app, its views, and the looks that keep them up to date."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any, ClassVar

from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Footer, Static, TabbedContent, TabPane
from textual.widgets.tabbed_content import ContentTabs

from synthclip_hpc.errors import is_user_mistake
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.monitor.watcher import SHARE_OF_A_CORE
from synthclip_hpc.screen import actions
from synthclip_hpc.screen.actions import Action, Outcome, command_line
from synthclip_hpc.screen.attention import Attention
from synthclip_hpc.screen.dialogs import Question, TextDialog
from synthclip_hpc.screen.ending import end_on_signals
from synthclip_hpc.screen.evaluation import EvaluationView
from synthclip_hpc.screen.failures import FailuresView
from synthclip_hpc.screen.feed import Feed
from synthclip_hpc.screen.head import head_text
from synthclip_hpc.screen.helper import Helper
from synthclip_hpc.screen.log import LogView
from synthclip_hpc.screen.overview import Overview
from synthclip_hpc.screen.samples import SamplesView
from synthclip_hpc.screen.stage import StageView
from synthclip_hpc.screen.style import CSS as STYLES
from synthclip_hpc.screen.training import TrainingView
from synthclip_hpc.screen.view import View, Views, phases

VIEWS: tuple[type[View], ...] = (
    Overview, StageView, FailuresView, TrainingView, EvaluationView, LogView, SamplesView,
)  # fmt: skip
_TICK_S = 1.0
_QUIET_TICKS = 5
"""While the user does nothing, ages are told anew at every fifth tick."""
_LATEST_S = 15.0
_KEYS = """\
1 to 7       the views, from left to right (or click)
j k ↓ ↑      down, up           g G   top, bottom
ctrl+d ctrl+u, page keys        half of the screen and more
r            resume: submit whatever is neither finished nor alive (asks first)
c            cancel what is alive (asks first)
u            look now           p     stop looking, go on
d            dark, light        q     leave (the run goes on)
"""


class Answer(Message):
    """What the helper's thread has found; handed to whoever asked."""

    def __init__(self, then: Callable[[Any], object], value: Any) -> None:
        super().__init__()
        self.then, self.value = then, value


class RunScreen(App[int]):
    """The screen of one run, live or recorded. `actions` has the commands that were run from it."""

    CSS = STYLES
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"view('{view.name_shown.lower()}')", view.name_shown, show=False)
            for number, view in enumerate(VIEWS, start=1)
        ),
        Binding("u", "look", "Look now", show=False),
        Binding("p", "stop", "Stop", show=False),
        Binding("d", "theme", "Light", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q,ctrl+q", "leave", "Leave", key_display="q"),
        Binding("ctrl+c", "leave", show=False, priority=True),
        Binding("r", "resume", "Resume"),
        Binding("c", "cancel", "Cancel"),
    ]

    def __init__(self, feed: Feed, title: str) -> None:
        super().__init__()
        self.feed, self.title = feed, title
        self.snapshot: Snapshot | None = None
        self.attention = Attention()
        self.actions: list[Action] = []
        self.error = ""
        """Why the last look failed."""
        self.view_error = ""
        """Why a view did not get what it asked for; until a key is pressed."""
        self._helper = Helper(self._deliver)
        self._hands = Helper(self._deliver)
        self._looking = False
        self._due = 0.0
        self._looked_at = time.monotonic()
        self._cpu_s, self._ticks = time.process_time(), 0

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        with Views(initial="overview", id="views"):
            for number, view in enumerate(VIEWS, start=1):
                name = view.name_shown
                with TabPane(f"{number} {name}", id=name.lower()):
                    yield view(id=f"view-{name.lower()}")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(ContentTabs).can_focus = False
        end_on_signals(self)
        self.set_interval(_TICK_S, self._tick)
        self._show()
        self.view.focus_main()
        self._tick()

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, (events.Key, events.MouseEvent, events.AppFocus)):
            self.attention.touch()
            if isinstance(event, events.Key):
                self.view_error = ""
        elif isinstance(event, events.AppBlur):
            self.attention.lose_focus()
        await super().on_event(event)

    @property
    def view(self) -> View:
        """The one in sight."""
        return self.query_one(f"#view-{self.query_one('#views', TabbedContent).active}", View)

    def is_in_sight(self, view: View) -> bool:
        return self.is_running and view is self.view and not self.attention.why_paused

    def ask(self, job: Callable[[Feed], Any], then: Callable[[Any], object]) -> None:
        """Ask the feed in the helper's thread; `then` gets the answer in this one."""
        self._helper.ask(lambda: job(self.feed), then, self._tell_view_error)

    def open_stage(self, stage: str) -> None:
        """Show a stage in its view."""
        self.query_one(StageView).open(stage)
        self.action_view("stage")

    def open_log(self, phase: str, attempt: str, submission: str | None = None) -> None:
        """Show the log of an attempt of `stage/phase`."""
        if submission is None:
            known = phases(self.snapshot) if self.snapshot is not None else {}
            lives = known[phase].lives if phase in known else ()
            submission = next((life.submission for life in lives if life.name == attempt), "")
        self.action_view("log")
        self.query_one(LogView).open(phase, attempt, submission)

    def show_why(self, phase: str, shard: int) -> None:
        """Show one shard's whole story, as `why` tells it."""
        if self._is_recorded():
            return
        assert self.feed.run_path is not None
        command = command_line("why", self.feed.run_path, f"shard={phase}/{shard}")
        self._hands.ask(
            lambda: actions.carry_out(command),
            lambda outcome: self.push_screen(TextDialog(command, outcome.output)),
            lambda error: self._tell_failed(command, error),
        )

    def act(self, what: str, verb: str, *words: str) -> None:
        """Ask, then run a command on the run and show what it said."""
        if self._is_recorded():
            return
        assert self.feed.run_path is not None
        command = command_line(verb, self.feed.run_path, *words)

        def answered(is_yes: bool | None) -> None:
            if is_yes:
                self.notify(command, title="at work")
                action = Action(command)
                self.actions.append(action)
                self._hands.ask(action.carry_out, self._acted, lambda error: self._tell_failed(command, error))

        self.push_screen(Question(f"{what}?", command), answered)

    def _acted(self, outcome: Outcome) -> None:
        how = "done" if outcome.code == 0 else f"exit code {outcome.code}"
        self.push_screen(TextDialog(f"{outcome.command}: {how}", outcome.output or "(it said nothing)"))
        self.action_look()

    def _is_recorded(self) -> bool:
        if self.feed.run_path is None:
            self.notify("this run is a recording: nothing can be done to it")
        return self.feed.run_path is None

    def _deliver(self, then: Callable[[Any], object], value: Any) -> None:
        self.post_message(Answer(then, value))

    @on(Answer)
    async def _answered(self, answer: Answer) -> None:
        if not self.is_running:
            return  # it is closing: the views are gone
        done = answer.then(answer.value)
        if inspect.isawaitable(done):
            await done

    def _tick(self) -> None:
        if not self.is_running:
            return
        if not self._looking and time.monotonic() >= self._due and not self.attention.why_paused:
            self._looking = True
            self._helper.ask(self.feed.look, self._take, self._look_failed)
        self._ticks += 1
        if self.attention.is_at_hand or self._ticks % _QUIET_TICKS == 0:
            self._head()

    def _take(self, snapshot: Snapshot) -> None:
        self.snapshot, self.error, self._looked_at = snapshot, "", time.monotonic()
        self._next_look()
        self._show()

    def _look_failed(self, error: Exception) -> None:
        self._next_look()
        self.error = _for_the_user(error)
        self._head()

    def _next_look(self) -> None:
        pace_s, before = self.feed.pace_s, self._cpu_s
        self._cpu_s = time.process_time()
        if not self.attention.is_at_hand:
            # Left open it costs no more than the looks alone may, drawing included.
            pace_s = max(pace_s, min((self._cpu_s - before) / SHARE_OF_A_CORE, _LATEST_S))
        self._looking, self._due = False, time.monotonic() + pace_s

    def _tell_view_error(self, error: Exception) -> None:
        self.view_error = _for_the_user(error)
        self._head()

    def _tell_failed(self, command: str, error: Exception) -> None:
        self.push_screen(TextDialog(f"{command}: could not be run", _for_the_user(error)))

    def _show(self) -> None:
        if self.snapshot is not None:
            self.view.show(self.snapshot)
        self._head()

    def _head(self) -> None:
        text = head_text(
            self.title or "",
            self.snapshot,
            since_s=time.monotonic() - self._looked_at,
            error=self.error or self.view_error,
            paused=self.attention.why_paused,
            busy_s=self._helper.busy_s,
        )
        self.query_one("#head", Static).update(text)

    @on(TabbedContent.TabActivated, "#views")
    def _view_changed(self) -> None:
        self._show()
        self.view.focus_main()

    def action_view(self, name: str) -> None:
        self.query_one("#views", TabbedContent).active = name

    def action_look(self) -> None:
        self._due = 0.0
        self._tick()

    def action_stop(self) -> None:
        self.attention.is_stopped = not self.attention.is_stopped
        self.action_look()

    def action_theme(self) -> None:
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_help(self) -> None:
        own = "".join(f"{line}\n" for line in self.view.help_lines)
        own = f"\n{self.view.name_shown}\n{own}" if own else ""
        self.push_screen(TextDialog("Keys", _KEYS + own))

    def action_resume(self) -> None:
        self.act("Submit whatever is neither finished nor alive", "resume")

    def action_cancel(self) -> None:
        self.act("End all of this run that is alive (finished shards stay)", "cancel")

    def action_leave(self) -> None:
        self.exit(0)


def _for_the_user(error: Exception) -> str:
    """Return what to tell of an error; one that is a bug goes on: the terminal is put right, and it says where."""
    if not is_user_mistake(error) and not isinstance(error, OSError):
        raise error
    return str(error)
