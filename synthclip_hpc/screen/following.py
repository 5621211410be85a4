"""A log file that grows, line by line."""

from __future__ import annotations

from collections import deque
from pathlib import Path

LINES = 5000
"""So many last lines are kept."""
_MOST_BYTES = 500_000
"""Of a log that is further ahead, at first or since the last look at it, only so much of its end is read."""
_LINE_CHARACTERS = 4000
"""So much of a line is kept; a line without an end would take all memory."""


class LogFile:
    """Reads what is new at each `read`; of a progress bar (carriage returns) only what it showed last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: deque[str] = deque(maxlen=LINES)
        self._offset = 0
        self._rest = b""
        """The line that has no end yet."""

    def read(self) -> list[str]:
        """Return the new lines, which are kept too; one says so where some were left out. Raises OSError."""
        size = self.path.stat().st_size
        if size < self._offset:  # written anew
            self._offset, self._rest = 0, b""
        left_out = size - _MOST_BYTES - self._offset
        if left_out > 0:
            self._offset, self._rest = self._offset + left_out, b""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            found = file.read(_MOST_BYTES)
        self._offset += len(found)
        *whole, rest = (self._rest + found).split(b"\n")
        self._rest = _shortened(rest)
        new = [_shown(line.decode("utf-8", "replace")) for line in whole]
        if left_out > 0:
            new[:1] = [f"… {left_out:,} bytes are left out here …"]  # the first line lacks its beginning
        self.lines.extend(new)
        return new


def _shortened(line: bytes) -> bytes:
    """Return what is needed of a line that goes on: what a progress bar has shown last, and not without bounds."""
    last = line.rstrip(b"\r").rpartition(b"\r")[2][: 4 * _LINE_CHARACTERS]
    return last + b"\r" if line.endswith(b"\r") else last


def _shown(line: str) -> str:
    last = line.rstrip("\r").rpartition("\r")[2].expandtabs()[:_LINE_CHARACTERS]
    # What would steer the terminal is left out.
    return "".join(character for character in last if character.isprintable())
