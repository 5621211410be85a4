"""Failures, grouped by what they have in common."""

from __future__ import annotations

import time
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Static

from synthclip_hpc.monitor.failures import FailureGroup
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.screen.tables import KeyedTable, Pane
from synthclip_hpc.screen.view import View, phases

_SHOWN = 12
_WORDS = 120
"""So many characters of its error tell which group is meant."""
COLUMNS = ("group", "count", "phase", "error", "follows", "last", "message")


class FailuresView(View):
    """A line a group, and all there is to say of the selected one."""

    name_shown = "Failures"
    help_lines = (
        "r: resubmit the shards of the group   x: the same, and leave the nodes alone that it follows",
        "o: the log of its latest failure   w: the whole story of its first shard",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "resubmit", "Resubmit group"),
        Binding("x", "exclude", "Exclude nodes"),
        Binding("o,enter", "log", "Log", key_display="o"),
        Binding("w", "why", "Why"),
    ]

    def compose(self) -> ComposeResult:
        yield KeyedTable(*COLUMNS, id="groups")
        with Pane(id="group"):
            yield Static(id="group-text", markup=False)

    def focus_main(self) -> None:
        self.query_one("#groups").focus()

    def render_snapshot(self, snapshot: Snapshot) -> None:
        self.query_one("#groups", KeyedTable).show([_row(group) for group in snapshot.failures])
        self._tell()

    @property
    def group(self) -> FailureGroup | None:
        """The selected one."""
        selected = self.query_one("#groups", KeyedTable).selected
        known = self.snapshot.failures if self.snapshot is not None else ()
        return next((group for group in known if group.id == selected), None)

    @on(DataTable.RowHighlighted)
    def _tell(self) -> None:
        group = self.group
        text = Text("nothing has failed", style="dim") if group is None else details(group)
        if group is not None and self.snapshot is not None:
            phase = phases(self.snapshot).get(group.phase)
            if phase is not None and phase.state == "done":
                text.append("\nall of its phase is done by now", "green")
        self.query_one("#group-text", Static).update(text)

    @on(DataTable.RowSelected)
    def action_log(self) -> None:
        group = self.group
        if group is not None:
            self.app.open_log(group.phase, group.sample.attempt, group.sample.submission)

    def action_why(self) -> None:
        group = self.group
        if group is not None and group.shards:
            self.app.show_why(group.phase, group.shards[0])
        elif group is not None:
            self.app.notify("attempts failed as a whole here, no shard by itself")

    def action_resubmit(self) -> None:
        group = self.group
        if group is not None:
            self.app.act(f"Resubmit what is open of {_named(group)}", "resume", f"only=group:{group.id}")

    def action_exclude(self) -> None:
        group = self.group
        if group is None:
            return
        if group.verdict.follows != "node":
            # Else it would be every node that has met it: all of the cluster, for a fault of the work itself.
            self.app.notify(f"no node is blamed for this: it follows {_whom(group)}; r resubmits it")
            return
        nodes = group.verdict.blamed
        what = f"Resubmit what is open of {_named(group)} and leave {', '.join(nodes)} alone"
        self.app.act(what, "resume", f"only=group:{group.id}", f"exclude={','.join(nodes)}")


def details(group: FailureGroup) -> Text:
    """Return a group in full."""
    kind, sample, verdict = group.fingerprint, group.sample, group.verdict
    text = Text()
    text.append(f"{kind.type}", "bold red").append(f" in {kind.frame}\n" if kind.frame else "\n")
    text.append(f"{' '.join(sample.message.split())}\n")
    times = f"{group.count} times" if group.count != 1 else "once"
    text.append(f"{times}, first {_clock(group.first)}, last {_clock(group.last)} (attempt {sample.attempt}")
    text.append(f" on {sample.node})\n" if sample.node else ")\n")
    text.append(f"nodes: {_few([f'{node} ({count})' for node, count in group.nodes.items()])}\n")
    if group.shards:
        text.append(f"shards: {_few([str(shard) for shard in group.shards])}\n")
    text.append("follows ").append(_whom(group), "bold").append(f": {verdict.evidence}")
    return text


def _row(group: FailureGroup) -> tuple[str | Text, ...]:
    message = " ".join(group.sample.message.split())[:200]
    error = Text(group.fingerprint.type, style="bold red")
    return (
        group.id, f"{group.count:,}", group.phase, error, _whom(group), _clock(group.last), message,
    )  # fmt: skip


def _named(group: FailureGroup) -> str:
    """Return which group that is so that a slip is seen: with its error's own words."""
    words = " ".join(f"{group.fingerprint.type}: {group.sample.message}".rstrip(": ").split())
    cut = f"{words[:_WORDS]} ..." if len(words) > _WORDS else words
    return f"group {group.id} ({group.phase}, {cut})"


def _whom(group: FailureGroup) -> str:
    verdict = group.verdict
    if verdict.follows == "neither":
        return "neither"
    return f"{verdict.follows} {_few(list(verdict.blamed), 3)}"


def _few(texts: list[str], shown: int = _SHOWN) -> str:
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return ", ".join(texts[:shown]) + more


def _clock(seconds: float) -> str:
    return time.strftime("%d %b %H:%M:%S", time.localtime(seconds))
