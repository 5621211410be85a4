"""Work in progress: what one attempt has made of a shard so far, in a file that is its own and only grows."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Self

from sharding import files
from sharding.directory import PhaseDirectory
from sharding.frames import frame, valid_prefix


class RecordLog:
    """The append-only record log of one attempt at one shard.

    A new attempt begins with a copy of the longest valid prefix that any earlier one left. It never writes to the file
    of another: an attempt on a node that lost contact may still be running and writing there, and its file stays its
    own. Records are opaque bytes, and record n of a shard means the same whichever attempt wrote it.
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
        inherited: list[bytes] = []
        for path in directory.partials(shard):
            records = _records(path, header)
            if len(records) > len(inherited):
                inherited = records
        path, descriptor = _create(directory, shard, attempt)
        log = cls(path, descriptor, fsync_every_s)
        try:
            log._write(b"".join(frame(payload) for payload in chain([header], inherited)))
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


def _records(path: Path, header: bytes) -> list[bytes]:
    try:
        payloads = valid_prefix(files.read_file(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        # NFS's way to say that the owner removed the file while it was read.
        if error.errno == errno.ESTALE:
            return []
        raise
    return payloads[1:] if payloads and payloads[0] == header else []
