"""Ranges of a file's unpacked bytes. A packed file has no random access: it is unpacked forwards, once for them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from synthclip_hpc.curation.source_files import PACKINGS, open_unpacked

_BLOCK_BYTES = 8 << 20


class ForwardReader:
    """Reads ranges of one file, cheaply when each begins where the one before ended, or little before.

    Of a packed file the place is kept, and the last bytes: going forward unpacks what lies between, going back begins
    anew. For one thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: BinaryIO | None = None
        self._position = 0
        self._tail = b""
        """The bytes before the position, as many as were asked to be kept."""

    def read(self, offset: int, size_bytes: int, keep_bytes: int = 0) -> bytes:
        """Return the bytes [offset, offset + size_bytes), fewer at the file's end; `keep_bytes` at their end are kept
        for a next range that begins among them.

        Raises OSError, EOFError or zlib.error when the file cannot be read or unpacked.
        """
        if self._path.suffix.lower() not in PACKINGS:
            with self._path.open("rb") as plain:
                plain.seek(offset)
                return plain.read(size_bytes)
        try:
            return self._unpacked(offset, size_bytes, keep_bytes)
        except BaseException:
            self.close()
            raise

    def _unpacked(self, offset: int, size_bytes: int, keep_bytes: int) -> bytes:
        if self._stream is None or offset < self._position - len(self._tail):
            self.close()
            self._stream = open_unpacked(self._path)
        behind = max(0, self._position - offset)
        kept = self._tail[len(self._tail) - behind :]
        if size_bytes <= behind:
            return kept[:size_bytes]
        for _ in self._blocks(self._stream, offset - self._position):
            pass  # what lies between is unpacked and dropped
        data = b"".join([kept, *self._blocks(self._stream, size_bytes - behind)])
        self._tail = data[max(0, len(data) - keep_bytes) :]
        return data

    def _blocks(self, stream: BinaryIO, size_bytes: int) -> Iterator[bytes]:
        while size_bytes > 0 and (block := stream.read(min(size_bytes, _BLOCK_BYTES))):
            self._position += len(block)
            size_bytes -= len(block)
            yield block

    def close(self) -> None:
        """Let go of the file; the next range begins anew."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._position, self._tail = None, 0, b""
