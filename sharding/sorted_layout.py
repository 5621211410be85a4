"""What a sorted file says of its rows: their order, where each range of keys begins, and the checksum of the whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow

KEY_BITS = 64


def key_range(index: int, count: int) -> tuple[int, int]:
    """Return (lo, hi) of part `index` of `count` equal parts of all 64-bit keys: lo <= key < hi, the last hi is 2**64.

    Raises ValueError for a part that is not there.
    """
    if not 0 <= index < count:
        raise ValueError(f"wanted 0 <= index < count, got {index} of {count}")
    return (index << KEY_BITS) // count, (index + 1 << KEY_BITS) // count


def range_offsets(keys: npt.NDArray[np.uint64], range_bits: int) -> npt.NDArray[np.int64]:
    """Return the first row of each of the 2**range_bits equal ranges of sorted keys, and the number of rows."""
    import numpy as np

    starts = np.array([key_range(index, 1 << range_bits)[0] for index in range(1 << range_bits)], dtype=np.uint64)
    return np.append(np.searchsorted(keys, starts), len(keys)).astype(np.int64)


@dataclass(frozen=True)
class Layout:
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
