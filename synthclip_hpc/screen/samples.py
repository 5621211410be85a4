"""The newest captions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from synthclip_hpc.monitor.shards import CaptionRow
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.screen.tables import Pane
from synthclip_hpc.screen.view import View

_COUNT = 50


class SamplesView(View):
    """What was written last, rejects and their reasons included."""

    name_shown = "Samples"

    def compose(self) -> ComposeResult:
        with Pane(id="samples-pane"):
            yield Static(id="samples-text", markup=False)

    def focus_main(self) -> None:
        self.query_one("#samples-pane").focus()

    def render_snapshot(self, snapshot: Snapshot) -> None:
        self.ask(lambda feed: feed.captions(_COUNT), self._take)

    def _take(self, rows: Sequence[CaptionRow]) -> None:
        text = Text("no shard of captions is done yet", style="dim") if not rows else Text()
        for row in rows:
            text.append(f"{row.concept}  ", "bold")
            if row.caption is None:
                text.append(f"({row.reject_reason or 'none'})\n", "magenta")
            else:
                text.append(f"{row.caption}\n")
        self.query_one("#samples-text", Static).update(text)
