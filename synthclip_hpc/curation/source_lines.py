"""Captions in lines: text with one a line, and TSV with or without a header.

A line ends with a line feed, and with nothing else (`\\r\\n` counts as one); tabs separate columns, and quotes are
characters like any other. A TSV has a header when one column of its first line is `caption`. Without one the last
column is the caption, and of a line with exactly four the first is its source (source, image, index, caption).

Where the rows are is counted once for each file, which reads all of it, and remembered: whoever reads a range later,
in another process or on another node, seeks it in a plain file and unpacks a packed one once, forwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthclip_hpc.curation.source_files import Columns, index_key, open_unpacked, refuse, telling_damage
from synthclip_hpc.curation.source_forward import ForwardReader
from synthclip_hpc.remembered import remembered

if TYPE_CHECKING:
    import pyarrow

MARK_ROWS = 16_384
"""A range of rows is read from a mark on: this is the most that is read in vain."""
_INDEX_VERSION = 1
_BLOCK_BYTES = 8 << 20
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_COLUMNS_WITH_SOURCE = 4


@dataclass(frozen=True)
class LineFile:
    """A file of lines, and where in it its rows are."""

    path: Path
    is_tsv: bool
    header: tuple[str, ...] | None
    """Names of the columns of a TSV with a header."""
    num_rows: int
    marks: tuple[int, ...]
    """Offset of every MARK_ROWS-th row in the unpacked bytes, and the end of the last row."""
    reader: ForwardReader = field(compare=False, repr=False)

    def read(self, start: int, stop: int) -> Columns:
        """Read the rows [start, stop). Raises UserError when the file has changed since it was opened."""
        first = start // MARK_ROWS
        last = -(-stop // MARK_ROWS)
        size_bytes = self.marks[last] - self.marks[first]
        # The next range may begin within the last step between two marks of this one.
        keep_bytes = 0 if stop == self.num_rows else self.marks[last] - self.marks[last - 1]
        with telling_damage(self.path):
            data = self.reader.read(self.marks[first], size_bytes, keep_bytes)
        if stop == self.num_rows:
            self.reader.close()
        num_rows = min(last * MARK_ROWS, self.num_rows) - first * MARK_ROWS
        if len(data) != size_bytes or data.count(b"\n") + (data[-1:] != b"\n") != num_rows:
            refuse(self.path, "has changed while it was being read; submit again")
        lines = _lines(data).slice(start - first * MARK_ROWS, stop - start)
        return self._columns(lines) if self.is_tsv else Columns({"caption": lines}, np.zeros(len(lines), dtype=bool))

    def _columns(self, lines: pyarrow.Array) -> Columns:
        import pyarrow as pa
        import pyarrow.compute as pc

        fields = pc.split_pattern(lines, "\t")
        bounds = fields.offsets.to_numpy()
        starts, widths = bounds[:-1], np.diff(bounds)

        def column(places: Any, there: Any) -> pyarrow.Array:
            return fields.values.take(pa.array(places, mask=~there))

        if self.header is None:
            fits = np.ones(len(lines), dtype=bool)
            with_source = widths == _COLUMNS_WITH_SOURCE
            return Columns({"caption": column(bounds[1:] - 1, fits), "source": column(starts, with_source)}, ~fits)
        fits = widths == len(self.header)
        return Columns({name: column(starts + place, fits) for place, name in enumerate(self.header)}, ~fits)


def open_lines(path: Path, form: str) -> LineFile:
    """Count the rows of a file, in one pass that never has it in memory, or remember their number.

    Raises UserError when it cannot be read.
    """
    with telling_damage(path):
        key = [_INDEX_VERSION, MARK_ROWS, form, index_key(path)]
        header, num_rows, marks = remembered("line-index", key, lambda: _index(path, form))
    return LineFile(
        path, form == "TSV", None if header is None else tuple(header), num_rows, tuple(marks), ForwardReader(path)
    )


def _index(path: Path, form: str) -> list[Any]:
    """Return [names of the header's columns or None, number of rows, marks]."""
    with telling_damage(path), open_unpacked(path) as stream:
        block = stream.read(_BLOCK_BYTES)
        if block.startswith(_UTF16_MARKS):
            refuse(path, "is UTF-16, wanted UTF-8; convert it, e.g. iconv -f utf-16 -t utf-8")
        position = len(_UTF8_MARK) if block.startswith(_UTF8_MARK) else 0
        header = _header(path, block[position:]) if form == "TSV" else None
        if header:
            position = block.find(b"\n") + 1 or len(block)
        block, num_rows, marks, last = block[position:], 0, [position], b"\n"
        while block:
            ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
            marks += (ends[MARK_ROWS - 1 - num_rows % MARK_ROWS :: MARK_ROWS] + position + 1).tolist()
            num_rows, position, last = num_rows + len(ends), position + len(block), block[-1:]
            block = stream.read(_BLOCK_BYTES)
    num_rows += last != b"\n"
    return [header, num_rows, marks if marks[-1] == position else [*marks, position]]


def _header(path: Path, block: bytes) -> list[str] | None:
    names = block.split(b"\n", 1)[0].removesuffix(b"\r").split(b"\t")
    if b"caption" not in names:
        return None
    header = [name.decode("utf-8", "replace") for name in names]
    if len(set(header)) != len(header):
        refuse(path, f"its header names a column twice: {', '.join(header)}; rename one of them")
    return header


def _lines(data: bytes) -> pyarrow.Array:
    """Split at line feeds; a last line may lack its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").removesuffix(b"\r")
    return pc.split_pattern(pa.array([data.removesuffix(b"\n")], pa.large_binary()), "\n").flatten()
