"""The one record batch of an Arrow file: how it is written, and the CRC-32 of its message.

Arrow's files have no checksum of their own. This one covers the message as it stands in the file, metadata and body,
and can be had before the file is written, so that it may stand in the schema ahead of the rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

_MAGIC_BYTES = 8
"""What an Arrow file has before its first message."""
_PREFIX_BYTES = 8
"""What stands before the metadata of each message: a mark and a length."""


def write_options() -> Any:
    """Every option that enters the bytes, so that a new default of pyarrow does not change them."""
    import pyarrow as pa

    version = pa.ipc.MetadataVersion.V5
    return pa.ipc.IpcWriteOptions(
        metadata_version=version, allow_64bit=False, use_legacy_format=False, compression=None, use_threads=False
    )


class Sink:
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


def message_crc(batch: pyarrow.RecordBatch) -> int:
    """Return the CRC-32 of the message that a file will hold for this batch, without making it in memory."""
    import pyarrow as pa

    schema = batch.schema.remove_metadata()
    ahead, crc = schema.serialize().size + _PREFIX_BYTES, 0

    def consume(data: memoryview) -> None:
        nonlocal ahead, crc
        crc = zlib.crc32(data[ahead:], crc)
        ahead = max(0, ahead - len(data))

    with pa.ipc.new_stream(pa.PythonFile(Sink(consume), mode="w"), schema, options=write_options()) as writer:
        writer.write_batch(batch.replace_schema_metadata(None))
        # Closing adds a mark of the end, which is no part of the message.
        return crc


def stored_crc(source: pyarrow.MemoryMappedFile) -> int | None:
    """Return the CRC-32 of the message that a file holds, None if it holds none. Raises what pyarrow raises."""
    import pyarrow as pa

    source.seek(_MAGIC_BYTES)
    messages = list(islice(pa.ipc.MessageReader.open_stream(source), 2))
    return zlib.crc32(messages[1].body, zlib.crc32(messages[1].metadata)) if len(messages) == 2 else None
