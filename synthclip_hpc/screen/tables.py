"""A table that is updated in place: what is selected stays selected across refreshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable

VIM = [
    Binding("j", "cursor_down", show=False),
    Binding("k", "cursor_up", show=False),
    Binding("h", "cursor_left", show=False),
    Binding("l", "cursor_right", show=False),
    Binding("g", "scroll_top", show=False),
    Binding("G", "scroll_bottom", show=False),
    Binding("ctrl+d", "page_down", show=False),
    Binding("ctrl+u", "page_up", show=False),
]


class Pane(VerticalScroll):
    """A part that scrolls, with the keys of vim besides the arrows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g", "scroll_home", show=False),
        Binding("G", "scroll_end", show=False),
        Binding("ctrl+d", "page_down", show=False),
        Binding("ctrl+u", "page_up", show=False),
    ]


class KeyedTable(DataTable[Any]):
    """A table whose rows are known by the text of their first cell."""

    BINDINGS: ClassVar[list[BindingType]] = [*VIM]

    def __init__(self, *columns: str, has_few_rows: bool = False, **options: Any) -> None:
        """With few rows all cells can be measured at each change: columns become narrower again."""
        # States and heat keep their colours under the cursor.
        super().__init__(cursor_type="row", cursor_foreground_priority="renderable", **options)
        self._headings: tuple[str, ...] = ()
        self._wanted = columns
        self._has_few_rows = has_few_rows
        self._shown: dict[str, Sequence[str | Text]] = {}
        self._kept: str | None = None
        """The row that was selected before the columns changed."""

    def on_mount(self) -> None:
        self.head(self._wanted)

    def on_resize(self) -> None:
        # With less room the cursor's row may have gone out of sight.
        if self.row_count:
            self.move_cursor(row=self.cursor_row)

    def head(self, columns: Sequence[str]) -> None:
        """Set the columns; rows are kept as long as these do not change, what is selected is kept for those to come."""
        if tuple(columns) != self._headings:
            self._kept = self.selected or self._kept
            self.clear(columns=True)
            self._shown = {}
            self._headings = tuple(columns)
            for column in columns:
                self.add_column(column, key=column)

    @property
    def selected(self) -> str | None:
        """The key of the row under the cursor."""
        if not self.row_count or not self.is_valid_row_index(self.cursor_row):
            return None
        return str(self.ordered_rows[self.cursor_row].key.value)

    def show(self, rows: Sequence[Sequence[str | Text]]) -> None:
        """Make these the rows, in this order: cells are updated where they differ, the cursor stays on its row."""
        selected = self.selected or self._kept
        position = {str(row[0]): number for number, row in enumerate(rows)}
        for key in [str(key.value) for key in self.rows if str(key.value) not in position]:
            self.remove_row(key)
        for row in rows:
            # The same object as before: nothing of it has changed.
            if self._shown.get(str(row[0])) is not row:
                self._put(str(row[0]), row)
        self._shown = {str(row[0]): row for row in rows}
        if [str(row.key.value) for row in self.ordered_rows] != list(position):
            self.sort(self._headings[0], key=lambda first: position[str(first)])
        if selected in position:
            self.move_cursor(row=position[selected], animate=False, scroll=False)
        if rows:
            self._kept = None
        if self._has_few_rows:
            for heading in self._headings:
                self.columns[heading].content_width = max(map(_width, [heading, *self.get_column(heading)]))

    def select(self, key: str) -> None:
        """Put the cursor on a row, if it is there."""
        if key in self.rows:
            self.move_cursor(row=self.get_row_index(key), animate=False)

    def _put(self, key: str, row: Sequence[str | Text]) -> None:
        if key not in self.rows:
            self.add_row(*row, key=key)
            for heading, new in zip(self._headings, row, strict=True):
                self._widen(heading, new)
            return
        known = self.get_row(key)
        for heading, old, new in zip(self._headings, known, row, strict=True):
            if old != new:
                is_wider = self._widen(heading, new)
                self.update_cell(key, heading, new, update_width=is_wider or self._has_few_rows)

    def _widen(self, heading: str, cell: str | Text) -> bool:
        """Make a column as wide as a cell; return whether it was narrower."""
        # At once: left to the table, a column is measured after lines may have been drawn, and those would be kept.
        column, width = self.columns[heading], _width(cell)
        is_wider = width > column.content_width
        if is_wider:
            column.content_width = width
        return is_wider


def _width(cell: str | Text) -> int:
    return cell_len(str(cell))
