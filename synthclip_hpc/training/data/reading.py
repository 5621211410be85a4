"""Encoded samples out of tars, a chunk at a time: each chunk is read once by whoever needs samples of it."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from synthclip_hpc.errors import UserError
from synthclip_hpc.training.chunks import Chunks, Numbers
from synthclip_hpc.training.data.training_data import TrainingData

_OPEN = 64


class Encoded(NamedTuple):
    """One sample as it stands in its tar."""

    number: int
    image: bytes
    text: bytes | None
    record: bytes | None


class SampleReader:
    """Reads samples of training data, with at most 64 tars open. For one thread."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data
        self._open: OrderedDict[Path, int] = OrderedDict()
        self.num_reads = self.num_bytes = 0

    def read(self, start: int, stop: int, wanted: Iterable[int]) -> list[Encoded]:
        """Return those `wanted` of the samples `start` to `stop - 1` of one tar, by a single read over all of these.

        Raises UserError for a tar that is gone or too short.
        """
        tar, rows = self._data.places(start, stop)
        offsets, sizes = rows[:, 0::2], rows[:, 1::2]
        base = int(offsets[offsets >= 0].min())
        content = self._bytes(tar, base, int((offsets + sizes).max()) - base)
        found = []
        for number in wanted:
            # Bytes of their own: a view would keep the whole chunk in memory for one sample.
            image, text, record = (
                content[offset - base : offset - base + size] if offset >= 0 else None
                for offset, size in rows[number - start].reshape(3, 2).tolist()
            )
            assert image is not None  # whatever is in the index has an image
            found.append(Encoded(number, image, text, record))
        return found

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])
        self._data.close()

    def _bytes(self, tar: Path, offset: int, size: int) -> bytes:
        if tar in self._open:
            self._open.move_to_end(tar)
        else:
            try:
                self._open[tar] = os.open(tar, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise UserError(
                    f"{tar}: this tar of the training data is gone; restore it, or make it again with repair and merge"
                ) from error
            if len(self._open) > _OPEN:
                os.close(self._open.popitem(last=False)[1])
        content = os.pread(self._open[tar], size, offset)
        self.num_reads += 1
        self.num_bytes += len(content)
        if len(content) != size:
            raise UserError(
                f"{tar}: this tar of the training data is cut off: {offset + len(content)} bytes, the index knows of "
                f"{offset + size}; restore it, or find with verify what is damaged and make it again with repair"
            )
        return content


def read_parts(
    reader: SampleReader, chunks: Chunks, parts: Iterable[Numbers], look_ahead: int
) -> Iterator[list[Encoded]]:
    """Yield the samples of part after part of the order (each int64 [n]).

    Of a chunk that is read, the samples of the next `look_ahead` parts are kept until their turn comes; what is wanted
    later still is read again then. Where `look_ahead` covers a group, no chunk is read twice for a lane, and at most
    two groups a lane (and source of a mix) are at hand.
    """
    remaining = iter(parts)
    coming: deque[list[int]] = deque()
    wanted: Counter[int] = Counter()
    held: dict[int, Encoded] = {}
    while True:
        while len(coming) <= look_ahead and (part := next(remaining, None)) is not None:
            coming.append(part.tolist())
            wanted.update(coming[-1])
        if not coming:
            return
        found = []
        for number in coming.popleft():
            if number not in held:
                start, stop = chunks.around(number)
                kept = [one for one in range(start, stop) if one in wanted and one not in held]
                held.update(zip(kept, reader.read(start, stop, kept), strict=True))
            found.append(held[number])
            wanted[number] -= 1
            if not wanted[number]:
                del wanted[number], held[number]
        yield found
