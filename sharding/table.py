"""Outputs as Parquet tables whose bytes follow from their rows and from pyarrow's version alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding import files
from sharding.marker import Counts

if TYPE_CHECKING:
    import pyarrow

_ZSTD_LEVEL = 3


class TableError(ValueError):
    """Columns that do not fit their schema, or a file that is not the table it should be."""


def write_table(path: Path, columns: Mapping[str, Sequence[Any]], schema: pyarrow.Schema) -> None:
    """Write columns of equal length as one Parquet file: zstd, one row group, page checksums, schema order.

    An existing file at `path` is replaced, never rewritten in place: it may be linked to a published output. The new
    one is not flushed to disk: publishing it does that.
    Raises TableError if columns are missing, unknown, of different lengths or of other types than the schema says.
    """
    import pyarrow as pa

    if set(columns) != set(schema.names):
        raise TableError(f"columns must be {schema.names}, got {list(columns)}")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise TableError(f"columns must have equal lengths, got {lengths}")
    try:
        table = pa.Table.from_pydict({name: columns[name] for name in schema.names}, schema=schema)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise TableError(f"columns do not fit the schema: {error}") from error
    write_arrow(path, table, schema)


def write_arrow(path: Path, table: pyarrow.Table, schema: pyarrow.Schema) -> None:
    """Write a table that is there already, as `write_table` does. Raises TableError if it is of another schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not table.schema.equals(schema):
        raise TableError(f"the table must have the schema\n{schema}\nand has\n{table.schema}")
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise TableError(f"column {field.name!r} must not hold nulls, got {table.column(field.name).null_count}")
    table = table.replace_schema_metadata(schema.metadata)
    buffer = pa.BufferOutputStream()
    # Every option that enters the bytes is spelled out, so that a new default of pyarrow does not change them.
    pq.write_table(
        table,
        buffer,
        row_group_size=max(table.num_rows, 1),
        version="2.6",
        data_page_version="1.0",
        data_page_size=1 << 20,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=True,
        write_statistics=True,
        write_page_checksum=True,
        write_page_index=False,
        store_schema=True,
    )
    files.write_file(path, buffer.getvalue().to_pybytes())


def inspect_table(path: Path, schema: pyarrow.Schema, reject_column: str | None = "reject_reason") -> Counts:
    """Read a whole table and count rows: done where `reject_column` is null or empty, else rejected for that reason.

    With `reject_column=None` every row is done. Raises TableError if the file is truncated, damaged or of another
    schema, FileNotFoundError if there is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if reject_column is not None and reject_column not in schema.names:
        raise TableError(f"reject_column must be one of {schema.names} or None, got {reject_column!r}")
    # Read by us, so that every OSError from here on is pyarrow's word for damaged content, not a failing disk.
    data = files.read_file(path)
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path} is truncated or damaged: {error}") from error
    if not table.schema.equals(schema):
        raise TableError(f"{path} has another schema. Expected:\n{schema}\nFound:\n{table.schema}")
    if reject_column is None:
        return Counts(table.num_rows, table.num_rows, 0, {})
    return Counts.of(table.column(reject_column).to_pylist())
