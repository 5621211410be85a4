"""When each attempt last wrote to a partial file, seen from outside: the files vanish as their shards end."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Appends:
    """Looks at the partial files in a thread between `start` and `stop`."""

    run: Path
    every_s: float = 0.25
    last: dict[str, float] = field(default_factory=dict)
    """Attempt -> time of its latest append, in seconds since 1970; the file system's own word."""
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Appends:
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join(10)

    def look(self) -> None:
        """Note the latest write of each attempt that has a partial file now."""
        for path in self.run.glob("*/*/partial/*/*.part"):
            with contextlib.suppress(FileNotFoundError):  # its shard ended between the listing and the look
                attempt = path.name.split(".")[1]
                self.last[attempt] = max(self.last.get(attempt, 0.0), path.stat().st_mtime)

    def _poll(self) -> None:
        while not self._end.wait(self.every_s):
            self.look()
