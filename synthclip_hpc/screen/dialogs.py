"""What comes before the views: help, a question before an action, a text to read."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from synthclip_hpc.screen.tables import Pane


class TextDialog(ModalScreen[None]):
    """A text that scrolls, until a key closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,question_mark", "dismiss", show=False)]

    def __init__(self, title: str, text: str | Text) -> None:
        super().__init__()
        self.title_shown = title
        self.text = text if isinstance(text, Text) else Text(text)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self.title_shown, style="bold"))
            with Pane(id="text"):
                yield Static(self.text)
            yield Static(Text("escape closes", style="dim"))

    def on_mount(self) -> None:
        self.query_one("#text").focus()


class Question(ModalScreen[bool]):
    """Shows the command that an action would run, and asks first. Enter alone does not answer yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,q", "answer(False)", show=False),
    ]

    def __init__(self, what: str, command: str) -> None:
        super().__init__()
        self.what, self.command = what, command

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog question"):
            yield Static(Text(self.what, style="bold"))
            yield Static(Text(f"\n{self.command}\n"))
            yield Static(Text("y: run it    n: leave it"))

    def action_answer(self, is_yes: bool) -> None:
        self.dismiss(is_yes)
