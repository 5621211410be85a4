"""Journals: the event file of one attempt, for people and for status. Nothing is decided by what stands there."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sharding import files

_BETWEEN_VALUE = "\0"
_BETWEEN = b',"\\u0000",'


class Journal:
    """Appends events to a file, one JSON line each, in one write.

    A journal never stops the work. What cannot be written (a full disk, most of all) is counted, reported once on
    stderr, and the next event that can be written carries the count as `lost_events`. A torn line is closed before the
    next one. Threads may share a journal.
    """

    def __init__(self, path: Path) -> None:
        """The file is made with the first event; an existing one is continued."""
        self.path = path
        self.lost_events = 0
        """How many events could not be written so far."""
        self._descriptor: int | None = None
        self._torn = False
        self._lock = threading.Lock()

    def event(self, name: str, /, **fields: Any) -> None:
        """Append `{"event": name, "time": unix seconds, **fields}`.

        Values that JSON lacks become text. Raises ValueError for a field called `event`, `time` or `lost_events`.
        """
        if taken := fields.keys() & {"event", "time", "lost_events"}:
            raise ValueError(
                f"fields of a journal event must not be called {sorted(taken)}: the journal sets these itself"
            )
        with self._lock:
            record = {"event": name, "time": round(time.time(), 3), **fields}
            if self.lost_events:
                record["lost_events"] = self.lost_events
            try:
                self._append(_line(record))
            except OSError as error:
                if not self.lost_events:
                    print(f"journal {self.path}: {error}; the work goes on, events may be missing", file=sys.stderr)
                self.lost_events += 1

    def close(self) -> None:
        """Close the file; a later event opens it again."""
        with self._lock:
            if self._descriptor is not None:
                descriptor, self._descriptor = self._descriptor, None
                files.close(descriptor)

    def _append(self, line: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = files.open_append(self.path)
            self._torn = not files.ends_with_newline(self._descriptor)
        data = b"\n" + line if self._torn else line
        self._torn = True
        files.write(self._descriptor, data)
        self._torn = False


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The events in the whole lines from byte `offset` on, and the offset to go on from next time.

    A last line without its newline is left for next time. A whole line that is no event becomes `{"event": "corrupt",
    "offset": its byte offset, "size_bytes": its length}`. A journal that does not exist has no events.
    """
    try:
        data = files.read_file(path, offset)
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    return _parse_lines(data[:end].split(b"\n")[:-1], offset), offset + end


def _line(record: dict[str, Any]) -> bytes:
    try:
        return json.dumps(record, ensure_ascii=True, allow_nan=False, default=str).encode() + b"\n"
    except ValueError:
        # A loss that became NaN is just what one wants to read in a journal; strict JSON has no word for it.
        return json.dumps(_finite(record), ensure_ascii=True, allow_nan=False, default=str).encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value


def _parse_lines(lines: list[bytes], offset: int) -> list[dict[str, Any]]:
    filled = [line for line in lines if line.strip()]
    try:
        # One call for all lines is several times as fast, and almost always possible.
        values = json.loads(b"[" + _BETWEEN.join(filled) + b"]")
    except (ValueError, RecursionError):
        values = []
    # A torn line may fit together with the next one; then what was put between them has been swallowed.
    events, between = values[::2], values[1::2]
    if (
        len(events) == len(filled)
        and between.count(_BETWEEN_VALUE) == len(between)
        and all(_is_event(event) for event in events)
    ):
        return list(events)
    found = []
    for line in lines:
        if line.strip():
            found.append(_parse(line, offset))
        offset += len(line) + 1
    return found


def _parse(line: bytes, position: int) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    if _is_event(event):
        return dict(event)
    return {"event": "corrupt", "offset": position, "size_bytes": len(line) + 1}


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("event"), str)
