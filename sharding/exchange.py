"""Sorted files for exchanges of everything with everything: many tasks write one each, others read a key range of all.

A file is one Arrow IPC record batch, uncompressed, sorted by a column of unsigned 64-bit keys. It is mapped into
memory, so a range costs the bytes of its rows and no more. Where the 2**range_bits equal ranges of all keys begin
stands in the schema's metadata, so that a range is found by touching one page or two. A thousand files may be open:
each holds a mapping, none a file descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sharding import files
from sharding.arrow_message import Sink, message_crc, stored_crc, write_options
from sharding.pages import forget_pages
from sharding.sorted_layout import KEY_BITS, Layout, range_offsets
from sharding.sorting import check_order, order_of, sort_rows, whole_rows
from sharding.table import TableError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow

MAX_RANGE_BITS = 16
_METADATA = b"sharding.exchange"


def write_sorted(
    path: Path,
    table: pyarrow.Table,
    key: str,
    ties: Sequence[str] = (),
    range_bits: int = 12,
    *,
    in_order: bool = False,
) -> None:
    """Sort a table by its uint64 column `key` and write it as one file that `SortedFile` opens.

    Rows of equal key are ordered by `ties`, then by every other column that has an order, so the bytes follow from the
    rows and pyarrow's version, whatever order the rows come in. Only rows that differ in nothing but a list column have
    no order of their own: they stay as they came. Takes memory for one more copy of the table and of its largest
    column. `in_order` says that the rows come from `sort_rows` or `merge_range` with this order, or are some of these,
    and saves sorting them again; that it is true is for `inspect_sorted` to say.

    An existing file is replaced, never rewritten in place, and the new one is not flushed: publishing it does that.
    Raises TableError for a key that is no uint64 or has nulls, nulls where the schema allows none, columns that are
    neither numbers, times, texts nor lists of these, more than 2 GiB in a column whose type counts in 32 bits, and
    range_bits outside 0..16.
    """
    import pyarrow as pa

    _check_bits(range_bits)
    check_order(table, key, ties)
    batch = whole_rows(table) if in_order else sort_rows(table, key, ties)
    layout = Layout(key, tuple(ties), range_offsets(_keys(batch, key), range_bits), message_crc(batch))
    schema = batch.schema.with_metadata({**(batch.schema.metadata or {}), _METADATA: layout.to_json()})
    files.remove(path)
    descriptor = files.open_new(path)
    try:
        sink = pa.PythonFile(Sink(lambda data: files.write(descriptor, data)), mode="w")
        with pa.ipc.new_file(sink, schema, options=write_options()) as writer:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    finally:
        files.close(descriptor)


class SortedFile:
    """A file of `write_sorted`, mapped into memory."""

    def __init__(self, path: Path, batch: pyarrow.RecordBatch, layout: Layout, content: pyarrow.Buffer) -> None:
        self.path, self.num_rows, self.schema = path, batch.num_rows, batch.schema
        self.key, self.ties = layout.key, layout.ties
        self._content: pyarrow.Buffer | None = content
        self._batch: pyarrow.RecordBatch | None = batch
        self._layout = layout

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file. Raises FileNotFoundError if there is none, TableError if it is no whole file of `write_sorted`.

        Reads the metadata alone: that the rows are undamaged is for `inspect_sorted` to say.
        """
        import pyarrow as pa

        # The mapping outlives its file object as long as the batch does; the descriptor does not. Every OSError of
        # opening is the file system's word; from there on it is pyarrow's, for damaged content.
        with pa.memory_map(str(path)) as source:
            found = _read(source, path)
            source.seek(0)
            return cls(path, *found, source.read_buffer())

    def rows(self, lo_key: int, hi_key: int | None = None) -> pyarrow.Table:
        """Return the rows with lo_key <= key < hi_key (None: to the end) as a slice of the mapping, without a copy.

        Raises ValueError for bounds that are not 0 <= lo_key <= hi_key <= 2**64, and after `close`.
        """
        import pyarrow as pa

        hi_key = 1 << KEY_BITS if hi_key is None else hi_key
        if not 0 <= lo_key <= hi_key <= 1 << KEY_BITS:
            raise ValueError(f"wanted 0 <= lo_key <= hi_key <= 2**64, got {lo_key} and {hi_key}")
        batch = self._mapped()
        start, stop = self._row_of(batch, lo_key), self._row_of(batch, hi_key)
        return pa.Table.from_batches([batch.slice(start, stop - start)])

    def forget(self) -> None:
        """Let the pages that were read leave this process; where they are read again they come back from the cache.

        Otherwise a process that works through ranges of many files ends with all of them in its resident memory.
        """
        if self._content is not None:
            forget_pages(self._content.address, self._content.size)

    def close(self) -> None:
        """Let go of the mapping; it ends when the last table that `rows` returned is gone as well."""
        self._batch = self._content = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _mapped(self) -> pyarrow.RecordBatch:
        if self._batch is None:
            raise ValueError(f"{self.path} is closed")
        return self._batch

    def _row_of(self, batch: pyarrow.RecordBatch, key: int) -> int:
        """Return the first row whose key is `key` or more."""
        import numpy as np

        if key >= 1 << KEY_BITS:
            return self.num_rows
        place = key >> (KEY_BITS - self._layout.range_bits)
        first, last = (int(offset) for offset in self._layout.offsets[place : place + 2])
        return first + int(np.searchsorted(_keys(batch, self.key)[first:last], np.uint64(key)))


def merge_range(
    sorted_files: Sequence[SortedFile],
    lo_key: int,
    hi_key: int | None = None,
    wanted: Callable[[pyarrow.Table], Any] | None = None,
) -> pyarrow.Table:
    """Return the rows with lo_key <= key < hi_key of all files, in the order of `write_sorted`, one chunk a column.

    `wanted` gets each file's rows of the range, where they lie, and returns a mask (numpy bool, one a row) of those to
    take: the others are neither copied nor sorted.

    The same table however the rows are spread over the files, whose metadata stays with them. Takes memory for one copy
    of these rows and of their largest column. Raises ValueError without a file, TableError when the files differ in
    schema, key or ties.
    """
    import pyarrow as pa

    if not sorted_files:
        raise ValueError("merge_range needs at least one file, to know the columns")
    first = sorted_files[0]
    for other in sorted_files[1:]:
        if (other.key, other.ties) != (first.key, first.ties) or not other.schema.equals(first.schema):
            raise TableError(
                f"{first.path} and {other.path} differ in schema or order: sorted by {first.key, *first.ties}, "
                f"{other.key, *other.ties}. Schemas:\n{first.schema}\nand:\n{other.schema}"
            )
    slices = [one.rows(lo_key, hi_key).replace_schema_metadata(None) for one in sorted_files]
    if wanted is not None:
        slices = [rows.filter(pa.array(wanted(rows), pa.bool_())) for rows in slices]
    merged = pa.Table.from_batches([sort_rows(pa.concat_tables(slices), first.key, first.ties)])
    for one in sorted_files:
        one.forget()
    return merged


def inspect_sorted(path: Path, schema: pyarrow.Schema) -> int:
    """Read a whole file of `write_sorted` and return its number of rows.

    Raises TableError when it is truncated, of another schema, not in order, when its offset table is not that of its
    keys, and when any bit of its rows has changed since they were sorted (a CRC-32 over the batch's message). Metadata
    that a caller put into the schema is not looked at. FileNotFoundError if there is no file.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    with pa.memory_map(str(path)) as source:
        batch, layout = _read(source, path)
        if not batch.schema.equals(schema):
            raise TableError(f"{path} has another schema. Expected:\n{schema}\nFound:\n{batch.schema}")
        try:
            if stored_crc(source) != layout.crc32:
                raise TableError(f"{path} is damaged: its rows do not have the checksum that they were written with")
        except (pa.ArrowException, OSError) as error:
            raise TableError(f"{path} is truncated or damaged: {error}") from error
    check_order(pa.Table.from_batches([batch]), layout.key, layout.ties)
    # Sorting is stable: what is in order stays where it is.
    indices = pc.sort_indices(batch, sort_keys=order_of(batch.schema, layout.key, layout.ties)).to_numpy()
    if not np.array_equal(indices, np.arange(batch.num_rows, dtype=indices.dtype)):
        raise TableError(f"{path} is not sorted by {(layout.key, *layout.ties)}")
    if not np.array_equal(range_offsets(_keys(batch, layout.key), layout.range_bits), layout.offsets):
        raise TableError(f"{path} is damaged: its offset table is not that of its keys")
    num_rows: int = batch.num_rows
    return num_rows


def _read(source: pyarrow.MemoryMappedFile, path: Path) -> tuple[pyarrow.RecordBatch, Layout]:
    """Return the rows of a mapped file, without the metadata that is ours, and that metadata."""
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(source)
        if reader.num_record_batches != 1:
            raise TableError(f"{path} is no sorted file: it has {reader.num_record_batches} record batches, not 1")
        batch = reader.get_batch(0)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path} is truncated or damaged: {error}") from error
    metadata = dict(batch.schema.metadata or {})
    try:
        layout = Layout.from_json(metadata.pop(_METADATA, b""), batch.schema, batch.num_rows)
    except (ValueError, LookupError, TypeError) as error:
        raise TableError(f"{path} is no sorted file, or damaged: {error}") from error
    return batch.replace_schema_metadata(metadata or None), layout


def _check_bits(range_bits: int) -> None:
    if not 0 <= range_bits <= MAX_RANGE_BITS:
        raise TableError(f"range_bits must be 0 to {MAX_RANGE_BITS}, got {range_bits}")


def _keys(batch: pyarrow.RecordBatch, key: str) -> npt.NDArray[np.uint64]:
    """Return the key column as it lies in memory."""
    keys: npt.NDArray[np.uint64] = batch.column(key).to_numpy(zero_copy_only=True)
    return keys
