"""All lines of a journal are parsed in one call where possible; no content may make that differ from line by line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.journal import read_events

EVENT = b'{"event": "progress", "time": 1.0, "shard": 3}'
LINES = st.one_of(
    st.just(EVENT),
    st.just(b""),
    st.just(b"  "),
    st.integers(1, len(EVENT)).map(lambda length: EVENT[:length]),
    st.integers(1, len(EVENT)).map(lambda length: EVENT[length:]),
    st.sampled_from(
        [b'{"event": "x", "list": [1', b"2]}", b"[", b"]", b"[" + EVENT, EVENT + b"]", EVENT + b"," + EVENT]
    ),
    st.sampled_from([b"\xff\xfe", b"\x00\x00", b"NaN", b'{"event": 3}', b"{}", EVENT + b"\r", b"\xef\xbb\xbf" + EVENT]),
)


def line_by_line(data: bytes) -> list[dict[str, Any]]:
    found, offset = [], 0
    for line in data.split(b"\n")[:-1]:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            found.append(event)
        elif line.strip():
            found.append({"event": "corrupt", "offset": offset, "size_bytes": len(line) + 1})
        offset += len(line) + 1
    return found


def read(data: bytes) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(data)
        events, offset = read_events(path)
        assert offset == data.rfind(b"\n") + 1
        return events


@given(st.lists(LINES, max_size=6))
def test_reading_in_one_go_finds_what_reading_line_by_line_finds(lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    assert read(data) == line_by_line(data)


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"event": "x", "list": [1', b"2]}", EVENT],
        [b'{"event": "x", "list": [1', b"2]}", EVENT + b"," + EVENT],
        [EVENT + b"," + EVENT, b""],
    ],
)
def test_lines_that_only_fit_together_are_corrupt_each(lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    assert read(data) == line_by_line(data)
