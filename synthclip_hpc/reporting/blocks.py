"""What a report is made of, whatever it is written as: sections of paragraphs, figures, tables, plots and pictures.

Nothing here knows HTML, Markdown or LaTeX; the writers turn each kind of block into their own form.
"""

from __future__ import annotations

from dataclasses import dataclass

MISSING = "—"
"""What stands where there is no number."""


@dataclass(frozen=True)
class Value:
    """A cell of a table."""

    text: str
    share: float | None = None
    """Draws a bar in the cell, 0 to 1; None: no bar."""
    chance: float | None = None
    """Marks the level of guessing on that bar, 0 to 1."""
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table; `kind` is `ours`, `others` (runs beside this one), `paper` or empty."""

    cells: tuple[Value, ...]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table; also written as a CSV and a LaTeX file called `name`."""

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    num_text_columns: int = 1
    """The first columns hold words, the others numbers."""
    note: str = ""
    num_group_columns: int = 0
    """So many of the first columns a page shows once, as a heading of the rows that share them."""
    folded: bool = False
    """Of little interest at first sight: closed until it is asked for."""


@dataclass(frozen=True)
class Plot:
    """A plot that is drawn as PNG and SVG files called `name`."""

    name: str
    title: str
    svg: str
    """A whole SVG document with the light colours of `plots.PALETTE`."""
    narrow_svg: str
    """The same for a narrow page."""
    png: bytes
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """One picture of a gallery."""

    image: bytes
    """JPEG."""
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures with captions; as a file one sheet called `name`, a PNG."""

    name: str
    title: str
    pictures: tuple[Picture, ...]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A number that says much: value, what it is, and what to hold it against."""

    value: str
    label: str
    beside: str = ""


@dataclass(frozen=True)
class Figures:
    """A few such numbers side by side."""

    items: tuple[Figure, ...]


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` is empty, or `caution` for what a reader must not overlook."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Listing:
    """Preformatted text, closed until it is asked for."""

    title: str
    text: str


Block = Table | Plot | Gallery | Figures | Text | Listing


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    name: str
    """Also its anchor: lower-case letters and hyphens."""
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """All that is told of a run."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    def tables(self) -> list[Table]:
        """Return the tables of all sections, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]

    def plots(self) -> list[Plot]:
        """Return the plots of all sections, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Plot)]

    def galleries(self) -> list[Gallery]:
        """Return the galleries of all sections, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Gallery)]


def words(*texts: str) -> tuple[Value, ...]:
    """Return plain cells."""
    return tuple(Value(text) for text in texts)
