"""Sorted files for exchanges of everything with everything: many tasks write one each, others read a key range of all.

A file is one Arrow IPC record batch, uncompressed, sorted by a column of unsigned 64-bit keys. It is mapped into
memory, so a range costs the bytes of its rows and no more. Where the 2**range_bits equal ranges of all keys begin
stands in the schema's metadata, so that a range is found by touching one page or two. A thousand files may be open:
each holds a mapping, none a file descriptor.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sharding import files
from sharding.sorting import check_order, order_of, sort_rows
from sharding.table import TableError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow

MAX_RANGE_BITS = 16
_METADATA = b"sharding.exchange"
_KEY_BITS = 64
_MAGIC_BYTES = 8
"""What an Arrow file has before its first message."""
_PREFIX_BYTES = 8
"""What stands before the metadata of each message: a mark and a length."""


def write_sorted(path: Path, table: pyarrow.Table, key: str, ties: Sequence[str] = (), range_bits: int = 12) -> None:
    """Sort a table by its uint64 column `key` and write it as one file that `SortedFile` opens.

    Rows of equal key are ordered by `ties`, then by every other column that has an order, so the bytes follow from the
    rows and pyarrow's version, whatever order the rows come in. Only rows that differ in nothing but a list column have
    no order of their own: they stay as they came. Takes memory for one more copy of the table and of its largest
    column.

    An existing file is replaced, never rewritten in place, and the new one is not flushed: publishing it does that.
    Raises TableError for a key that is no uint64 or has nulls, nulls where the schema allows none, columns that are
    neither numbers, times, texts nor lists of these, more than 2 GiB in a column whose type counts in 32 bits, and
    range_bits outside 0..16.
    """
    import pyarrow as pa

    _check_bits(range_bits)
    check_order(table, key, ties)
    batch = sort_rows(table, key, ties)
    layout = _Layout(key, tuple(ties), _range_offsets(_keys(batch, key), range_bits), _message_crc(batch))
    schema = batch.schema.with_metadata({**(batch.schema.metadata or {}), _METADATA: layout.to_json()})
    files.remove(path)
    descriptor = files.open_new(path)
    try:
        sink = pa.PythonFile(_Sink(lambda data: files.write(descriptor, data)), mode="w")
        with pa.ipc.new_file(sink, schema, options=_options()) as writer:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    finally:
        files.close(descriptor)


class SortedFile:
    """A file of `write_sorted`, mapped into memory."""

    def __init__(self, path: Path, batch: pyarrow.RecordBatch, layout: _Layout) -> None:
        self.path, self.num_rows, self.schema = path, batch.num_rows, batch.schema
        self.key, self.ties = layout.key, layout.ties
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
            return cls(path, *_read(source, path))

    def rows(self, lo_key: int, hi_key: int | None = None) -> pyarrow.Table:
        """Return the rows with lo_key <= key < hi_key (None: to the end) as a slice of the mapping, without a copy.

        Raises ValueError for bounds that are not 0 <= lo_key <= hi_key <= 2**64, and after `close`.
        """
        import pyarrow as pa

        hi_key = 1 << _KEY_BITS if hi_key is None else hi_key
        if not 0 <= lo_key <= hi_key <= 1 << _KEY_BITS:
            raise ValueError(f"wanted 0 <= lo_key <= hi_key <= 2**64, got {lo_key} and {hi_key}")
        batch = self._mapped()
        start, stop = self._row_of(batch, lo_key), self._row_of(batch, hi_key)
        return pa.Table.from_batches([batch.slice(start, stop - start)])

    def counts(self, range_bits: int) -> npt.NDArray[np.int64]:
        """Return the number of rows in each of the 2**range_bits equal key ranges, from the offset table alone.

        Raises ValueError when the file was written with fewer range_bits than that.
        """
        import numpy as np

        stored = self._layout.range_bits
        if not 0 <= range_bits <= stored:
            raise ValueError(f"range_bits must be 0 to {stored}, as {self.path} was written, got {range_bits}")
        return np.diff(self._layout.offsets[:: 1 << (stored - range_bits)])

    def close(self) -> None:
        """Let go of the mapping; it ends when the last table that `rows` returned is gone as well."""
        self._batch = None

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

        if key >= 1 << _KEY_BITS:
            return self.num_rows
        place = key >> (_KEY_BITS - self._layout.range_bits)
        first, last = (int(offset) for offset in self._layout.offsets[place : place + 2])
        return first + int(np.searchsorted(_keys(batch, self.key)[first:last], np.uint64(key)))


def range_bounds(index: int, range_bits: int) -> tuple[int, int]:
    """Return (lo, hi) of one of the 2**range_bits equal key ranges; the hi of the last is 2**64."""
    width = 1 << (_KEY_BITS - range_bits)
    return index * width, (index + 1) * width


def merge_range(sorted_files: Sequence[SortedFile], lo_key: int, hi_key: int | None = None) -> pyarrow.Table:
    """Return the rows with lo_key <= key < hi_key of all files, in the order of `write_sorted`, one chunk a column.

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
    slices = pa.concat_tables([one.rows(lo_key, hi_key) for one in sorted_files])
    return pa.Table.from_batches([sort_rows(slices.replace_schema_metadata(None), first.key, first.ties)])


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
        source.seek(_MAGIC_BYTES)
        try:
            messages = list(islice(pa.ipc.MessageReader.open_stream(source), 2))
            if len(messages) < 2 or zlib.crc32(messages[1].body, zlib.crc32(messages[1].metadata)) != layout.crc32:
                raise TableError(f"{path} is damaged: its rows do not have the checksum that they were written with")
        except (pa.ArrowException, OSError) as error:
            raise TableError(f"{path} is truncated or damaged: {error}") from error
    check_order(pa.Table.from_batches([batch]), layout.key, layout.ties)
    # Sorting is stable: what is in order stays where it is.
    indices = pc.sort_indices(batch, sort_keys=order_of(batch.schema, layout.key, layout.ties)).to_numpy()
    if not np.array_equal(indices, np.arange(batch.num_rows, dtype=indices.dtype)):
        raise TableError(f"{path} is not sorted by {(layout.key, *layout.ties)}")
    if not np.array_equal(_range_offsets(_keys(batch, layout.key), layout.range_bits), layout.offsets):
        raise TableError(f"{path} is damaged: its offset table is not that of its keys")
    num_rows: int = batch.num_rows
    return num_rows


@dataclass(frozen=True)
class _Layout:
    """What the metadata says of the rows."""

    key: str
    ties: tuple[str, ...]
    offsets: npt.NDArray[np.int64]
    """First row of each of the 2**range_bits key ranges, and the number of rows at the end."""
    crc32: int
    """Over the record batch's message, metadata and body, as it stands in the file."""

    @property
    def range_bits(self) -> int:
        return (len(self.offsets) - 1).bit_length() - 1

    def to_json(self) -> bytes:
        value = {"key": self.key, "ties": self.ties, "crc32": self.crc32, "offsets": self.offsets.tolist()}
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes, schema: pyarrow.Schema, num_rows: int) -> Self:
        """Raises ValueError, LookupError or TypeError for anything that does not describe a file of this size."""
        import numpy as np

        value = json.loads(data)
        key, ties, crc32 = str(value["key"]), tuple(map(str, value["ties"])), int(value["crc32"])
        offsets = np.array(value["offsets"], dtype=np.int64)
        found = cls(key, ties, offsets, crc32)
        whole = len(offsets) == (1 << found.range_bits) + 1 and offsets[0] == 0 and offsets[-1] == num_rows
        if not whole or (np.diff(offsets) < 0).any():
            raise ValueError("the offset table does not fit the rows")
        if not {key, *ties} <= set(schema.names) or str(schema.field(key).type) != "uint64":
            raise ValueError(f"columns {(key, *ties)} are not there, or the first is not uint64")
        return found


def _read(source: pyarrow.MemoryMappedFile, path: Path) -> tuple[pyarrow.RecordBatch, _Layout]:
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
        layout = _Layout.from_json(metadata.pop(_METADATA, b""), batch.schema, batch.num_rows)
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


def _range_offsets(keys: npt.NDArray[np.uint64], range_bits: int) -> npt.NDArray[np.int64]:
    import numpy as np

    starts = np.array([range_bounds(index, range_bits)[0] for index in range(1 << range_bits)], dtype=np.uint64)
    return np.append(np.searchsorted(keys, starts), len(keys)).astype(np.int64)


def _options() -> Any:
    """Every option that enters the bytes, so that a new default of pyarrow does not change them."""
    import pyarrow as pa

    version = pa.ipc.MetadataVersion.V5
    return pa.ipc.IpcWriteOptions(
        metadata_version=version, allow_64bit=False, use_legacy_format=False, compression=None, use_threads=False
    )


class _Sink:
    """What pyarrow wants of a file that is written: each piece goes to a function, none is kept."""

    closed = False

    def __init__(self, consume: Callable[[Any], None]) -> None:
        self._consume = consume

    def write(self, data: Any) -> int:
        self._consume(memoryview(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The owner of what is behind the function closes it."""


def _message_crc(batch: pyarrow.RecordBatch) -> int:
    """Return the CRC-32 of the message that a file will hold for this batch, without making it in memory."""
    import pyarrow as pa

    schema = batch.schema.remove_metadata()
    ahead, crc = schema.serialize().size + _PREFIX_BYTES, 0

    def consume(data: memoryview) -> None:
        nonlocal ahead, crc
        crc = zlib.crc32(data[ahead:], crc)
        ahead = max(0, ahead - len(data))

    with pa.ipc.new_stream(pa.PythonFile(_Sink(consume), mode="w"), schema, options=_options()) as writer:
        writer.write_batch(batch.replace_schema_metadata(None))
        # Closing adds a mark of the end, which is no part of the message.
        return crc
