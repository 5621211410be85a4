"""Frames: how records stand in an append-only file, so that a reader knows which of them are whole."""

from __future__ import annotations

import struct
import zlib

_HEAD = struct.Struct("<II")
MAX_PAYLOAD_BYTES = (1 << 32) - 1


def frame(payload: bytes) -> bytes:
    """Length (4 bytes), CRC-32 of length and payload (4 bytes), payload.

    The CRC covers the length too: after a power failure a file may end in zeros, and eight zeros must not be a valid
    record. Raises ValueError above 4 GiB.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a record holds at most {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}")
    return _HEAD.pack(len(payload), _crc(payload)) + payload


def valid_prefix(data: bytes) -> list[bytes]:
    """The payloads of all frames up to the first one that is torn or damaged."""
    payloads, position = [], 0
    while position + _HEAD.size <= len(data):
        length, crc = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        payload = data[position : position + length]
        if len(payload) != length or _crc(payload) != crc:
            break
        payloads.append(payload)
        position += length
    return payloads


def _crc(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(len(payload).to_bytes(4, "little")))
