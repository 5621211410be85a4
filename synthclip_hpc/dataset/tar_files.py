"""Reading parts of samples straight out of tars, with few of these open at a time."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from synthclip_hpc.dataset.foreign_tar import caption_of
from synthclip_hpc.errors import UserError

_OPEN = 64


class Sample(NamedTuple):
    """One pair of an image and its caption."""

    key: str
    """Unique in its tar."""
    image: bytes
    """Encoded; for the run's own images a JPEG."""
    txt: str
    """The caption: the tar's `.txt`, else `caption` of its `.json`."""
    json: bytes | None
    """The record as it stands in the tar; None where a sample of another source has none."""


class TarFiles:
    """Tars by their number, opened when they are asked for, at most 64 at once. For one thread."""

    def __init__(self, path_of: Callable[[int], Path]) -> None:
        self._path_of = path_of
        self._open: OrderedDict[int, int] = OrderedDict()

    def sample(self, row: dict[str, Any]) -> Sample:
        """Return the sample that a row of an index tells of. Raises UserError for a tar that is gone or too short."""
        image, text, record = (self.part(row, part) for part in ("image", "txt", "json"))
        assert image is not None
        if text is not None:
            return Sample(row["key"], image, text.decode(), record)
        return Sample(row["key"], image, caption_of(None, json.loads(record or b"{}")) or "", record)

    def part(self, row: dict[str, Any], part: str) -> bytes | None:
        """Return the bytes of `image`, `txt` or `json`; None where the sample has none. Raises as `sample` does."""
        offset, size, number = row[f"{part}_offset"], row[f"{part}_size"], row["tar"]
        if offset is None:
            return None
        if number in self._open:
            self._open.move_to_end(number)
        else:
            try:
                self._open[number] = os.open(self._path_of(number), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise UserError(f"{self._path_of(number)}: not there, the index counts on it; merge again") from error
            if len(self._open) > _OPEN:
                os.close(self._open.popitem(last=False)[1])
        data = os.pread(self._open[number], size, offset)
        if len(data) != size:
            raise UserError(f"{self._path_of(number)}, byte {offset}: {row['key']} is cut off; fetch or make it again")
        return data

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])
