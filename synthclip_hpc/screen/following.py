"""A log file that grows, line by line."""

from __future__ import annotations

from collections import deque
from pathlib import Path

LINES = 5000
"""So many last lines are kept."""
_FIRST_BYTES = 500_000
"""So much of a long log is read to begin with."""


class LogFile:
    """Reads what is new at each `read`; of a progress bar (carriage returns) only what it showed last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: deque[str] = deque(maxlen=LINES)
        self._offset: int | None = None
        self._rest = b""

    def read(self) -> list[str]:
        """Return the new lines, which are kept too. Raises OSError."""
        size = self.path.stat().st_size
        if self._offset is None or size < self._offset:  # opened for the first time, or written anew
            self._offset, self._rest = max(0, size - _FIRST_BYTES), b""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            found = file.read()
        self._offset += len(found)
        *whole, self._rest = (self._rest + found).split(b"\n")
        new = [_shown(line.decode("utf-8", "replace")) for line in whole]
        self.lines.extend(new)
        return new


def _shown(line: str) -> str:
    last = line.rstrip("\r").rpartition("\r")[2].expandtabs()
    # What would steer the terminal is left out.
    return "".join(character for character in last if character.isprintable())
