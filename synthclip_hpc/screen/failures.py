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
COLUMNS = ("group", "count", "phase", "error", "follows", "last", "message")


class FailuresView(View):
    """A line a group, and all there is to say of the selected one."""

    name_shown = "Failures"
    help_lines = (
        "r: resubmit the shards of the group   x: the same, and leave its nodes alone",
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
        return next((group for group in known if str(group.number) == selected), None)

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
            self.app.act(f"Resubmit what is open of group {group.number}", "resume", f"only=group:{group.number}")

    def action_exclude(self) -> None:
        group = self.group
        if group is None:
            return
        nodes = group.verdict.blamed if group.verdict.follows == "node" else tuple(group.nodes)
        if not nodes:
            self.app.notify("no node is known to have met this")
            return
        what = f"Resubmit group {group.number} and leave {', '.join(nodes)} alone"
        if group.verdict.follows != "node":
            what += " (though the group does not follow a node)"
        self.app.act(what, "resume", f"only=group:{group.number}", f"exclude={','.join(nodes)}")


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
        str(group.number), f"{group.count:,}", group.phase, error, _whom(group), _clock(group.last), message,
    )  # fmt: skip


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
