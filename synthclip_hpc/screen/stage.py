"""One phase: attempts, shards on demand, stragglers, nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import ContentSwitcher, Input, Static

from synthclip_hpc.monitor.parts import AttemptStatus, ShardRow
from synthclip_hpc.monitor.snapshot import PhaseStatus, Snapshot
from synthclip_hpc.screen import choosing, stage_rows
from synthclip_hpc.screen.nodes import by_node
from synthclip_hpc.screen.tables import KeyedTable
from synthclip_hpc.screen.view import View, phases

Row = tuple[str | Text, ...]
_MODES = ("attempts", "shards", "behind", "nodes")


class StageView(View):
    """A phase, chosen with the brackets or from the overview, in one of four tables."""

    name_shown = "Stage"
    help_lines = (
        "[ ]: the phase before, the next one",
        "a s b n: attempts, shards, those behind (slow or silent), nodes",
        "/: filter shards by words, numbers, ranges (7-12); escape ends it",
        "z: order of shards (number, state, time)",
        "o: the selected row's log   w: the selected shard's whole story",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        # One for all four: with a name each there would be no room for the others at 80 characters.
        Binding("a", "mode('attempts')", "Tables", key_display="a s b n"),
        Binding("s", "mode('shards')", show=False),
        Binding("b", "mode('behind')", show=False),
        Binding("n", "mode('nodes')", show=False),
        Binding("o,enter", "log", "Log", key_display="o"),
        Binding("w", "why", "Why"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("z", "order", "Order", show=False),
        Binding("left_square_bracket", "phase(-1)", show=False),
        Binding("right_square_bracket", "phase(1)", show=False),
        Binding("escape", "no_filter", show=False),
    ]

    def __init__(self, **options: str) -> None:
        super().__init__(**options)
        self._key = ""
        """`stage/phase`; empty: the one where something happens."""
        self._order, self._words = choosing.ORDERS[0], ""
        self._rows: Sequence[ShardRow] = ()
        self._attempts: dict[str, tuple[AttemptStatus, Row]] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="phase")
        yield Static(id="mode", markup=False)
        with ContentSwitcher(initial="attempts"):
            yield KeyedTable(*stage_rows.ATTEMPTS, id="attempts")
            yield KeyedTable(*stage_rows.SHARDS, id="shards")
            yield KeyedTable(*stage_rows.BEHIND, id="behind")
            yield KeyedTable(*stage_rows.NODES, id="nodes")
        yield Input(placeholder="failed n2 7-12 …", id="filter", compact=True)

    @property
    def mode(self) -> str:
        return str(self.query_one(ContentSwitcher).current)

    @property
    def _table(self) -> KeyedTable:
        return self.query_one(f"#{self.mode}", KeyedTable)

    def on_mount(self) -> None:
        self.query_one("#filter").display = False

    def focus_main(self) -> None:
        self._table.focus()

    def open(self, stage: str) -> None:
        """Show a stage: its phase at work, else its last one."""
        self._key = stage

    def render_snapshot(self, snapshot: Snapshot) -> None:
        known = phases(snapshot)
        self._key = _resolve(self._key, known)
        phase = known.get(self._key)
        if phase is None:
            self.query_one("#phase", Static).update(Text("no phase has a plan yet"))
            return
        self.query_one("#phase", Static).update(stage_rows.summary(self._key, phase, list(known)))
        if self.mode == "attempts":
            self._table.show(self._attempt_rows(phase))
        elif self.mode == "behind":
            # Two attempts may be at one shard; the worst comes first.
            worst = {one.shard: one for one in reversed(phase.stragglers)}
            self._table.show([stage_rows.straggler_row(one) for one in reversed(worst.values())])
        elif self.mode == "nodes":
            self._table.show([stage_rows.node_row(one) for one in by_node(phase.lives)])
        else:
            key = self._key
            self.ask(lambda feed: feed.shards(key), lambda rows: self._take_shards(key, rows))
        self._tell_mode(phase)

    def _attempt_rows(self, phase: PhaseStatus) -> list[Row]:
        """Return a row an attempt; of one that is the same object as before the same row, as of all that have ended."""
        rows = {}
        for one in phase.lives:
            known = self._attempts.get(one.name)
            rows[one.name] = known if known is not None and known[0] is one else (one, stage_rows.attempt_row(one))
        self._attempts = rows
        return [row for _, row in rows.values()]

    def _tell_mode(self, phase: PhaseStatus) -> None:
        counts = {"attempts": len(phase.lives), "shards": phase.shards_total, "behind": len(phase.stragglers)}
        text = Text()
        for mode in _MODES:
            count = f" {counts[mode]:,}" if mode in counts else ""
            text.append(f"{mode}{count}", "bold reverse" if mode == self.mode else "dim").append("  ")
        if self.mode == "shards" and self._rows:
            found = choosing.choose(self._rows, self._words, self._order)
            shown = found[: choosing.SHOWN]
            text.append(choosing.told(shown, len(found), len(self._rows), self._words, self._order))
        self.query_one("#mode", Static).update(text)

    def _take_shards(self, key: str, rows: Sequence[ShardRow]) -> None:
        if key == self._key and self.mode == "shards" and self.snapshot is not None:
            self._rows = rows
            found = choosing.choose(rows, self._words, self._order)
            self._table.show([stage_rows.shard_row(one) for one in found[: choosing.SHOWN]])
            self._tell_mode(phases(self.snapshot)[key])

    def action_mode(self, mode: str) -> None:
        self.query_one(ContentSwitcher).current = mode
        self.focus_main()
        self._again()

    def action_phase(self, step: int) -> None:
        known = list(phases(self.snapshot)) if self.snapshot is not None else []
        if self._key in known:
            self._key = known[(known.index(self._key) + step) % len(known)]
            self._rows = ()
            for table in self.query(KeyedTable):
                table.show(())
            self._again()

    def action_order(self) -> None:
        orders = choosing.ORDERS
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._again()

    def action_filter(self) -> None:
        self.action_mode("shards")
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_no_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.value, field.display = "", False
        self.focus_main()

    @on(Input.Changed, "#filter")
    def _filtered(self, event: Input.Changed) -> None:
        self._words = event.value
        self._again()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.query_one("#filter").display = bool(self._words)
        self.focus_main()

    def action_log(self) -> None:
        attempt = self._selected_attempt()
        if attempt:
            self.app.open_log(self._key, attempt)
        elif self.mode == "nodes":
            self.app.notify("a node has no log of its own: select an attempt (a) or a shard (s)")
        elif self._table.selected is None:
            self.app.notify("nothing is selected")
        else:
            self.app.notify("no attempt has come to this shard: there is no log yet")

    def action_why(self) -> None:
        selected = self._table.selected
        if self.mode in ("shards", "behind") and selected is not None:
            self.app.show_why(self._key, int(selected))
        else:
            self.app.notify("select a shard first: s, or b")

    def _selected_attempt(self) -> str:
        """Return the attempt that the selected row is about; empty where it is about none."""
        selected = self._table.selected
        if selected is None or self.mode == "nodes":
            return ""
        if self.mode == "attempts":
            return selected
        column = (stage_rows.SHARDS if self.mode == "shards" else stage_rows.BEHIND).index("attempt")
        return str(self._table.get_row(selected)[column])

    def _again(self) -> None:
        if self.snapshot is not None:
            self.render_snapshot(self.snapshot)


def _resolve(key: str, known: dict[str, PhaseStatus]) -> str:
    """Return the phase to show for a key, a stage's name or nothing: at work, else in need, else the last one done."""
    if key in known or not known:
        return key
    mine = [name for name in known if name.startswith(f"{key}/")] or list(known)
    for states in (("running",), ("failed", "blocked", "partial"), ("pending",)):
        for name in mine:
            if known[name].state in states:
                return name
    done = [name for name in mine if known[name].state == "done"]
    return done[-1] if done else mine[0]
