"""What all views have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.containers import Vertical
from textual.widgets import TabbedContent, TabPane

from synthclip_hpc.monitor.snapshot import PhaseStatus, Snapshot

if TYPE_CHECKING:
    from synthclip_hpc.screen.feed import Feed


class View(Vertical):
    """One of the screen's views. It is told of a snapshot only while it is in sight."""

    name_shown = ""
    help_lines: tuple[str, ...] = ()
    """Its keys, for `?`."""
    snapshot: Snapshot | None = None
    """The one that is shown."""

    def show(self, snapshot: Snapshot) -> None:
        """Render a snapshot; what is selected stays selected."""
        self.snapshot = snapshot
        self.render_snapshot(snapshot)

    def render_snapshot(self, snapshot: Snapshot) -> None:
        """Each view renders a snapshot in its own way."""
        raise NotImplementedError

    def on_resize(self) -> None:
        if self.snapshot is not None:
            self.render_snapshot(self.snapshot)

    def ask(self, job: Callable[[Feed], Any], then: Callable[[Any], object]) -> None:
        """Ask the feed in the helper's thread; `then` gets the answer here."""
        self.app.ask(job, then)


class Views(TabbedContent):
    """All views; which one is in sight is for keys and tabs to say."""

    def _on_tab_pane_focused(self, event: TabPane.Focused) -> None:
        # Told of late, the focus of the view before would bring that one back.
        event.stop()
        event.prevent_default()


def phases(snapshot: Snapshot) -> dict[str, PhaseStatus]:
    """Return the phases of a run by `stage/phase`, in order."""
    return {f"{stage.name}/{phase.name}": phase for stage in snapshot.stages for phase in stage.phases}
