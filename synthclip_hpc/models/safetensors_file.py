"""What a safetensors file tells of itself: whether it is whole, and samples out of every tensor.

The format: 8 bytes with the header's length (little-endian), the header in JSON, which gives each tensor's place in the
data, and the data.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_MOST_BYTES = 32 << 10
_LEAST_BYTES = 256
"""Bytes of one sample."""


def is_whole(path: Path) -> bool:
    """Tell whether a file is a safetensors file and as long as its header says."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > min(size, _MAX_HEADER_BYTES):
                return False
            places = _places(file.read(length))
        ends = [end for start, end in places if 0 <= start <= end]
        return 0 < len(ends) == len(places) and size == _LENGTH_BYTES + length + max(ends)
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


def sample_tensors(path: Path, budget_bytes: int) -> list[Any]:
    """Return [size in bytes, sha256 over the whole header and over samples of every tensor] of a whole file.

    A tensor has samples by its share of the file, one at least; a tensor with several has its first and its last bytes
    among them. About `budget_bytes` are read, and half as much again at most; more only of a file with more tensors
    than that has samples.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_LENGTH_BYTES)
        header = file.read(int.from_bytes(head, "little"))
        places = sorted(_places(header))
        data = len(head) + len(header)
        total = max(1, size - data)
        chunk = max(_LEAST_BYTES, min(_MOST_BYTES, budget_bytes // (2 * len(places))))
        digest = sha256(head + header)
        for start, end in places:
            num_samples = max(1, budget_bytes // chunk * (end - start) // total)
            for offset in _offsets(end - start - chunk, num_samples):
                digest.update(os.pread(file.fileno(), min(chunk, end - start), data + start + offset))
    return [size, digest.hexdigest()]


def _offsets(last: int, num_samples: int) -> list[int]:
    """Return where to take samples, evenly from 0 to `last`; a single one lies in the middle."""
    if last <= 0:
        return [0]
    if num_samples == 1:
        return [last // 2]
    return sorted({last * number // (num_samples - 1) for number in range(num_samples)})


def _places(header: bytes) -> list[tuple[int, int]]:
    """Return (start, end) of each tensor in the data."""
    tensors: dict[str, Any] = json.loads(header)
    return [
        (tensor["data_offsets"][0], tensor["data_offsets"][1])
        for name, tensor in tensors.items()
        if name != "__metadata__"
    ]
