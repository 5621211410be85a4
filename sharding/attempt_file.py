"""Work in progress: the file of one attempt at one shard, which is its own and only grows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sharding import files
from sharding.directory import PhaseDirectory

T = TypeVar("T")

# <job>_<index>_<restart>, with the number of the file where two lives had one name.
_LIFE = re.compile(r"(?P<element>.+_\d+)_(?P<restart>\d+)(?:-\d+)?")
_NUM_LOOKS = 5


class AttemptFile:
    """What is common to the partial files of all formats.

    A new attempt begins with a copy of the longest valid prefix that any earlier one left. It never writes to the file
    of another: an attempt on a node that lost contact may still be running and writing there. What an earlier life of
    the same array element left is removed once the copy is on disk, so that an element that is preempted a thousand
    times does not leave a thousand copies.
    """

    def __init__(self, path: Path, descriptor: int, fsync_every_s: float) -> None:
        """Use `open` of the format."""
        self.path = path
        self._descriptor: int | None = descriptor
        self._fsync_every_s = fsync_every_s
        self._synced_at_s = time.monotonic()
        self._torn = False

    @classmethod
    def _begin(
        cls, directory: PhaseDirectory, shard: int, attempt: str, inherited: bytes, seen: list[Path], every_s: float
    ) -> Self:
        """Make the own file with what was inherited, and only then remove what it replaces of the files `seen`."""
        path, descriptor = _create(directory, shard, attempt)
        own = cls(path, descriptor, every_s)
        try:
            own._write(inherited)
            own._take_over(_earlier_lives(seen, shard, attempt), descriptor)
        except BaseException:
            own.close()
            raise
        return own

    def close(self) -> None:
        """Flush to disk and close; closing twice is fine."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            files.sync(descriptor)
        finally:
            files.close(descriptor)

    def discard(self) -> None:
        """Close, and remove the own file. Files of other attempts stay: they may be in use."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            files.close(descriptor)
        files.remove(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_over(self, earlier: list[Path], descriptor: int) -> None:
        """Remove files whose content this one holds at least."""
        if not earlier:
            return
        # Copy and name are on disk before the original goes, so that a node lost in between costs nothing.
        files.sync(descriptor)
        files.sync_directory(self.path.parent)
        for path in earlier:
            # Removed, never changed. Slurm starts an element's next life when it believes the last one dead; should it
            # live on, on a node that lost contact, its file has no name any more, but it goes on writing there. Only
            # if it dies as well, what it added since the copy is made again.
            files.remove(path)

    def _write(self, data: bytes) -> None:
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed; open a new log to go on")
        if self._torn:
            raise ValueError(f"an earlier write to {self.path} failed half-way; open a new log to go on")
        self._torn = True
        files.write(self._descriptor, data)
        self._torn = False
        now_s = time.monotonic()
        if now_s - self._synced_at_s >= self._fsync_every_s:
            files.sync(self._descriptor)
            self._synced_at_s = now_s


def longest(
    directory: PhaseDirectory, shard: int, read: Callable[[bytes], T], length: Callable[[T], Any]
) -> tuple[T, list[Path]]:
    """What `read` makes of the shard's partial file where `length` of it is greatest, and the files that were read.

    Of no file it is `read(b"")`. One content at a time is held, besides what `read` keeps of the best one. Raises
    OSError for a file that is there and cannot be read.
    """
    best = read(b"")
    for _ in range(_NUM_LOOKS):
        seen, num_gone = [], 0
        for path in directory.partials(shard):
            try:
                content = files.read_file(path)
            except OSError as error:
                if not files.is_gone(error):
                    raise
                num_gone += 1
                continue
            seen.append(path)
            found = read(content)
            if length(found) > length(best):
                best = found
        if not num_gone:
            break
        # Removed while we looked: by the shard's winner, or by a successor whose copy a new listing shows.
    return best, seen


def _create(directory: PhaseDirectory, shard: int, attempt: str) -> tuple[Path, int]:
    for path in _names(directory, shard, attempt):
        try:
            return path, files.open_new(path)
        except FileExistsError:
            continue
    raise AssertionError("unreachable: the names never end")


def _names(directory: PhaseDirectory, shard: int, attempt: str) -> Iterator[Path]:
    yield directory.partial_path(shard, attempt)
    # Two lives under one attempt name should not be; if they are, each still gets a file of its own.
    for number in count(2):
        yield directory.partial_path(shard, f"{attempt}-{number}")


def _earlier_lives(paths: list[Path], shard: int, attempt: str) -> list[Path]:
    """Those files that belong to lower restarts of the element that `attempt` is a life of."""
    mine = _LIFE.fullmatch(attempt)
    if mine is None:
        return []
    earlier = []
    for path in paths:
        life = _LIFE.fullmatch(path.name.removeprefix(f"{shard:05d}.").removesuffix(".part"))
        if life and life["element"] == mine["element"] and int(life["restart"]) < int(mine["restart"]):
            earlier.append(path)
    return earlier
