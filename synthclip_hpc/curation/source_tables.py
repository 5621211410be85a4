"""Captions in Parquet: the column `caption`, or the only column of texts, and what else is known of each."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synthclip_hpc.curation.source_files import INTEGERS, TEXTS, Columns, refuse

if TYPE_CHECKING:
    import pyarrow

_BATCH_ROWS = 65_536
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class TableFile:
    """A Parquet file, known by its footer."""

    path: Path
    caption: str
    """Name of the column of captions."""
    others: tuple[str, ...]
    """Names of the other columns that are read."""
    starts: tuple[int, ...]
    """First row of each row group, and the number of rows."""

    @property
    def num_rows(self) -> int:
        return self.starts[-1]

    def read(self, start: int, stop: int) -> Columns:
        """Read the rows [start, stop), a small batch at a time: a row group may be larger than memory.

        Raises UserError when the file is damaged or has changed since it was opened.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        first, last = bisect_right(self.starts, start) - 1, bisect_right(self.starts, stop - 1)
        row, parts = self.starts[first], []
        try:
            with pq.ParquetFile(self.path, buffer_size=_BUFFER_BYTES) as file:
                for batch in file.iter_batches(
                    _BATCH_ROWS, row_groups=range(first, last), columns=[self.caption, *self.others], use_threads=False
                ):
                    if row < stop and start < row + batch.num_rows:
                        parts.append(
                            batch.slice(max(0, start - row), min(stop, row + batch.num_rows) - max(start, row))
                        )
                    row += batch.num_rows
                    if row >= stop:
                        break
        except (pa.ArrowException, OSError, IndexError) as error:
            refuse(self.path, f"cannot be read ({error}); fetch or make it again")
        names = [self.caption, *self.others]
        if sum(part.num_rows for part in parts) != stop - start or not set(names) <= set(parts[0].schema.names):
            refuse(self.path, "has changed while it was being read; submit again")
        table = pa.Table.from_batches(parts)
        columns = {name: _plain(table.column(name)) for name in names}
        return Columns({"caption": columns.pop(self.caption), **columns}, np.zeros(stop - start, dtype=bool))


def open_table(path: Path) -> TableFile:
    """Read a file's footer. Raises UserError when it is no Parquet, or lacks a column of captions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except (pa.ArrowException, OSError) as error:
        refuse(path, f"cannot be read ({error}); fetch or make it again")
    groups = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    others = tuple(name for name in (*TEXTS, *INTEGERS) if name in schema.names)
    for name in others:
        wanted = "whole numbers" if name in INTEGERS else "texts"
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) if name in INTEGERS else _is_text(kind)):
            refuse(path, f"its column {name!r} must hold {wanted}, got {kind}; rename or convert it")
    return TableFile(path, _caption_column(path, schema), others, tuple(accumulate(groups, initial=0)))


def _caption_column(path: Path, schema: pyarrow.Schema) -> str:
    texts = [field.name for field in schema if field.name not in TEXTS and _is_text(field.type)]
    if "caption" in texts:
        return "caption"
    if len(texts) == 1 and "caption" not in schema.names:
        return str(texts[0])
    there = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    refuse(path, f"wanted a text column 'caption', or one text column alone; its columns: {there}. Rename one")


def _is_text(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return any(is_kind(kind) for is_kind in (types.is_string, types.is_large_string, types.is_string_view))


def _plain(column: pyarrow.ChunkedArray) -> pyarrow.Array:
    """Return one array without dictionary; texts as bytes, as nothing has looked whether they are UTF-8."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if _is_text(column.type):
        column = column.cast(pa.large_string()).cast(pa.large_binary())
    return column.combine_chunks()
