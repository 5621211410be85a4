"""Writing and checking `index.parquet`: rows come and go in small groups, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sharding.files import remove
from sharding.table import TableError
from synthclip_hpc.dataset.caption_ids import Ids

GROUP_ROWS = 16_384
"""A reader of one row decodes its group: some milliseconds once, then it is at hand."""


class RowWriter:
    """A Parquet file whose row groups have `GROUP_ROWS` rows each, in whatever portions they come."""

    def __init__(self, path: Path, schema: Any) -> None:
        import pyarrow.parquet as pq

        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.num_rows = 0
        self._schema, self._waiting = schema, schema.empty_table()
        # Every option that enters the bytes is spelled out, so that a new default of pyarrow does not change them.
        self._writer = pq.ParquetWriter(
            path,
            schema,
            version="2.6",
            data_page_version="1.0",
            data_page_size=1 << 20,
            compression="zstd",
            compression_level=3,
            use_dictionary=True,
            write_statistics=True,
            write_page_checksum=True,
            write_page_index=False,
            store_schema=True,
        )

    def add(self, rows: Any) -> None:
        """Add rows of the schema."""
        import pyarrow as pa

        self.num_rows += rows.num_rows
        self._waiting = pa.concat_tables([self._waiting, rows])
        while self._waiting.num_rows >= GROUP_ROWS:
            self._write(self._waiting.slice(0, GROUP_ROWS))
            self._waiting = self._waiting.slice(GROUP_ROWS)

    def _write(self, rows: Any) -> None:
        self._writer.write_table(rows.combine_chunks(), row_group_size=GROUP_ROWS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._waiting.num_rows:
            self._write(self._waiting)
        self._writer.close()


def caption_ids(path: Path) -> Iterator[tuple[Ids, Ids]]:
    """Yield (caption ids, their rows) of an index, a row group at a time."""
    import pyarrow.parquet as pq

    row = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            column = file.read_row_group(group, columns=["caption_id"]).column(0).combine_chunks()
            there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
            yield column.drop_null().to_numpy().astype(np.uint64), (there + row).astype(np.uint64)
            row += len(column)


def check_index(path: Path, schema: Any) -> int:
    """Read a whole file, a group at a time, and return its number of rows. Raises TableError when it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    num_rows = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if not file.schema_arrow.equals(schema):
                raise TableError(f"{path} has another schema. Expected:\n{schema}\nFound:\n{file.schema_arrow}")
            for group in range(file.num_row_groups):
                num_rows += file.read_row_group(group).num_rows
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path} is truncated or damaged: {error}") from error
    return num_rows
