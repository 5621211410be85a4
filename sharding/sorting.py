"""The one order of a table's rows that follows from the rows alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sharding.table import TableError

if TYPE_CHECKING:
    import pyarrow


def check_order(table: pyarrow.Table, key: str, ties: Sequence[str]) -> None:
    """Raise TableError for a table that could not be sorted so that equal rows give equal bytes.

    The key must be uint64 without nulls; columns hold numbers, times, texts or lists of these (the codes of a
    dictionary would follow from the order of rows), and nulls only where the schema allows them.
    """
    import pyarrow as pa

    names = table.schema.names
    if len(set(names)) != len(names) or not {key, *ties} <= set(names):
        raise TableError(f"key {key!r} and ties {list(ties)} must be among the columns, each there once: {names}")
    if table.schema.field(key).type != pa.uint64() or table.column(key).null_count:
        found = table.schema.field(key).type, table.column(key).null_count
        raise TableError(f"key {key!r} must be uint64 without nulls, got {found[0]} with {found[1]} nulls")
    for field in table.schema:
        if not (_has_order(field.type) or (_is_list(field.type) and _has_order(field.type.value_type))):
            raise TableError(
                f"column {field.name!r} must hold numbers, times, texts or lists of them, got {field.type}"
            )
        if field.name in ties and not _has_order(field.type):
            raise TableError(f"tie {field.name!r} must have an order, got {field.type}")
        if not field.nullable and table.column(field.name).null_count:
            raise TableError(f"column {field.name!r} must not hold nulls, got {table.column(field.name).null_count}")


def order_of(schema: pyarrow.Schema, key: str, ties: Sequence[str]) -> list[tuple[str, str]]:
    """Return pyarrow's sort keys: `key`, then `ties`, then every other column that has an order (lists have none)."""
    others = [field.name for field in schema if field.name not in (key, *ties) and _has_order(field.type)]
    return [(name, "ascending") for name in (key, *ties, *others)]


def sort_rows(table: pyarrow.Table, key: str, ties: Sequence[str]) -> pyarrow.RecordBatch:
    """Return the rows in the order of `order_of`, in memory of their own; rows it cannot tell apart stay as they come.

    Raises TableError when a column holds more than its type can count.
    """
    import pyarrow.compute as pc

    indices = pc.sort_indices(table, sort_keys=order_of(table.schema, key, ties))
    # One column after the other: only one is there in three copies.
    return _batch(table, lambda whole: whole.take(indices))


def whole_rows(table: pyarrow.Table) -> pyarrow.RecordBatch:
    """Return the rows as they come, as one batch. Raises TableError as `sort_rows` does."""
    return _batch(table, lambda whole: whole)


def _batch(table: pyarrow.Table, change: Callable[[Any], Any]) -> pyarrow.RecordBatch:
    import pyarrow as pa

    columns = []
    for name, column in zip(table.schema.names, table.columns, strict=True):
        try:
            columns.append(change(column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()))
        except pa.ArrowInvalid as error:
            raise TableError(
                f"column {name!r} of type {column.type} holds more than 2 GiB: give it the type large_string, "
                f"large_binary or large_list, or write smaller files ({error})"
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _has_order(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return types.is_primitive(kind) or any(is_text(kind) for is_text in texts)


def _is_list(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind)
