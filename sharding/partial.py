"""Work in progress as records: what one attempt has made of a shard so far, each record checked by length and CRC."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Self

from sharding.attempt_file import AttemptFile, longest
from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.frames import frame, valid_prefix


class RecordLog(AttemptFile):
    """The append-only record log of one attempt at one shard.

    Records are opaque bytes, and record n of a shard means the same whichever attempt wrote it.
    """

    def __init__(self, path: Path, descriptor: int, fsync_every_s: float) -> None:
        """Use `open`."""
        super().__init__(path, descriptor, fsync_every_s)
        self.records: list[bytes] = []
        """The payloads that are safely in the file, in order."""

    @classmethod
    def open(
        cls, directory: PhaseDirectory, shard: int, attempt: str, plan_hash: str, *, fsync_every_s: float = 5.0
    ) -> Self:
        """Start this attempt's log of a shard with what earlier attempts left for the same plan.

        Raises OSError as it comes (a full disk, an unreadable older log).
        """
        header = canonical_json({"schema": 1, "plan_hash": plan_hash, "shard": shard})

        def records(content: bytes) -> list[bytes]:
            payloads = valid_prefix(content)
            return payloads[1:] if payloads and payloads[0] == header else []

        inherited, seen = longest(directory, shard, records, len)
        copy = b"".join(frame(payload) for payload in chain([header], inherited))
        log = cls._begin(directory, shard, attempt, copy, seen, fsync_every_s)
        log.records.extend(inherited)
        return log

    def append(self, payload: bytes) -> None:
        """Add one record. When this returns, the record survives the death of the process, and of the node soon after.

        Raises OSError as it comes. The log then takes no more: readers would miss any record behind a torn one.
        """
        self._write(frame(payload))
        self.records.append(payload)
