"""Work in progress: what one attempt has made of a shard so far, in a file that is its own and only grows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Self

from sharding import files
from sharding.directory import PhaseDirectory
from sharding.frames import frame, valid_prefix

# <job>_<index>_<restart>, with the number of the file where two lives had one name.
_LIFE = re.compile(r"(?P<element>.+_\d+)_(?P<restart>\d+)(?:-\d+)?")
_NUM_LOOKS = 5


class RecordLog:
    """The append-only record log of one attempt at one shard.

    A new attempt begins with a copy of the longest valid prefix that any earlier one left. It never writes to the file
    of another: an attempt on a node that lost contact may still be running and writing there. What an earlier life of
    the same array element left is removed once the copy is on disk, so that an element that is preempted a thousand
    times does not leave a thousand copies. Records are opaque bytes, and record n of a shard means the same whichever
    attempt wrote it.
    """

    def __init__(self, path: Path, descriptor: int, fsync_every_s: float) -> None:
        """Use `open`."""
        self.path = path
        self.records: list[bytes] = []
        """The payloads that are safely in the file, in order."""
        self._descriptor: int | None = descriptor
        self._fsync_every_s = fsync_every_s
        self._synced_at_s = time.monotonic()
        self._torn = False

    @classmethod
    def open(
        cls, directory: PhaseDirectory, shard: int, attempt: str, plan_hash: str, *, fsync_every_s: float = 5.0
    ) -> Self:
        """Start this attempt's log of a shard with what earlier attempts left for the same plan.

        Raises OSError as it comes (a full disk, an unreadable older log).
        """
        header = files.canonical_json({"schema": 1, "plan_hash": plan_hash, "shard": shard})
        inherited, seen = _inherit(directory, shard, header)
        path, descriptor = _create(directory, shard, attempt)
        log = cls(path, descriptor, fsync_every_s)
        try:
            log._write(b"".join(frame(payload) for payload in chain([header], inherited)))
            log._take_over(_earlier_lives(seen, shard, attempt), descriptor)
        except BaseException:
            log.close()
            raise
        log.records.extend(inherited)
        return log

    def append(self, payload: bytes) -> None:
        """Add one record. When this returns, the record survives the death of the process, and of the node soon after.

        Raises OSError as it comes. The log then takes no more: readers would miss any record behind a torn one.
        """
        self._write(frame(payload))
        self.records.append(payload)

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
        """Close, and remove the own file. Logs of other attempts stay: they may be in use."""
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
        """Remove logs whose records this one holds at least."""
        if not earlier:
            return
        # Copy and name are on disk before the original goes, so that a node lost in between costs nothing.
        files.sync(descriptor)
        files.sync_directory(self.path.parent)
        for path in earlier:
            # Removed, never changed. Slurm starts an element's next life when it believes the last one dead; should it
            # live on, on a node that lost contact, its file has no name any more, but it goes on writing there and may
            # still publish. Only if it dies as well, what it added since the copy is made again.
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


def _records(path: Path, header: bytes) -> list[bytes] | None:
    """The records of a log; None if its file was removed meanwhile."""
    try:
        payloads = valid_prefix(files.read_file(path))
    except OSError as error:
        if files.is_gone(error):
            return None
        raise
    return payloads[1:] if payloads and payloads[0] == header else []


def _inherit(directory: PhaseDirectory, shard: int, header: bytes) -> tuple[list[bytes], list[Path]]:
    """The longest valid prefix that any log holds, and the logs that could be read."""
    for _ in range(_NUM_LOOKS):
        paths = directory.partials(shard)
        found = [_records(path, header) for path in paths]
        if None not in found:
            break
        # Removed while we looked: by the shard's winner, or by a successor whose copy a new listing shows.
    read = {path: records for path, records in zip(paths, found, strict=True) if records is not None}
    return max(read.values(), key=len, default=[]), list(read)


def _earlier_lives(paths: list[Path], shard: int, attempt: str) -> list[Path]:
    """Those logs that belong to lower restarts of the element that `attempt` is a life of."""
    mine = _LIFE.fullmatch(attempt)
    if mine is None:
        return []
    earlier = []
    for path in paths:
        life = _LIFE.fullmatch(path.name.removeprefix(f"{shard:05d}.").removesuffix(".part"))
        if life and life["element"] == mine["element"] and int(life["restart"]) < int(mine["restart"]):
            earlier.append(path)
    return earlier
