"""A shard's tar in the making: the partial file is the beginning of the tar itself, so data is written only once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Self, TypeVar

from sharding.attempt_file import AttemptFile, longest
from sharding.directory import PhaseDirectory
from sharding.tar_scan import Member, scan
from sharding.ustar import BLOCK_BYTES, END, header, padding

T = TypeVar("T")


@dataclass(frozen=True)
class Kept(Generic[T]):
    """The good beginning of a partial tar, as the application judges it."""

    num_items: int
    end: int
    """In bytes: 0, or the `end` of one of the members."""
    facts: T
    """Whatever the application wants to remember of these items, such as the reasons of its rejects."""


Whole = Callable[[bytes, list[Member]], Kept[T]]
"""Judges a partial tar: given its bytes (possibly with something torn at the end) and its members, all of them whole
and with headers just as `ustar.header` makes them, in order. It answers how much to keep: leading items whose contents
are right, cut to whole batches where batches matter. It raises nothing for damaged contents; it keeps less. Given
(b"", []) when there is nothing to inherit."""


class TarLog(AttemptFile, Generic[T]):
    """One attempt's tar of one shard, append-only like a `RecordLog`, and as safe beside other attempts.

    The file holds no trace of the plan: equal shards of two runs are equal files. A phase's directory belongs to one
    plan (`bind_plan`), and with it whatever lies in `partial/`.
    """

    kept: Kept[T]
    """What was taken over from earlier attempts."""

    @classmethod
    def open(
        cls, directory: PhaseDirectory, shard: int, attempt: str, whole: Whole[T], *, fsync_every_s: float = 5.0
    ) -> Self:
        """Start this attempt's tar of a shard with the most items that `whole` keeps of any earlier attempt's.

        Raises OSError as it comes (a full disk, an unreadable older file); ValueError if `whole` keeps half a member.
        """

        def judge(content: bytes) -> tuple[Kept[T], bytes]:
            members = own_members(content)
            kept = whole(content, members)
            if kept.num_items < 0 or kept.end not in {0, *(member.end for member in members)}:
                raise ValueError(f"{kept.num_items} items up to byte {kept.end} do not end where a member ends")
            return kept, content

        def num_items(judged: tuple[Kept[T], bytes]) -> int:
            return judged[0].num_items

        (kept, content), seen = longest(directory, shard, judge, num_items)
        log = cls._begin(directory, shard, attempt, content[: kept.end], seen, fsync_every_s)
        log.kept = kept
        return log

    def append(self, data: bytes) -> None:
        """Add whole items, as `ustar.members` makes them, in one write.

        When this returns, they survive the death of the process, and of the node soon after. Raises OSError as it
        comes; the file then takes no more. ValueError if `data` is not whole blocks, or after `finish`.
        """
        if len(data) % BLOCK_BYTES:
            raise ValueError(f"members are whole blocks of {BLOCK_BYTES} bytes, got {len(data)} bytes")
        self._write(data)

    def finish(self) -> Path:
        """End the archive, flush it to disk, close it, and return its path for `publish_shard`, which links it.

        The file is never written to again: from then on it may be the published output. An attempt that finds it
        before that goes on from its items, as from any other.
        """
        self._write(END)
        self.close()
        return self.path


def own_members(data: bytes) -> list[Member]:
    """The leading members of a tar, or of a part of one, that are whole and byte for byte as `ustar` makes them.

    Their contents alone may still be wrong. Stops at the end of the archive as at anything else.
    """
    members: list[Member] = []
    position = 0
    try:
        for member in scan(data, "a partial file"):
            # Stricter than any checksum, and nothing in between: no directory, no long name.
            if data[position : member.offset] != header(member.name, member.size):
                break
            content_end, position = member.offset + member.size, member.end
            if data[content_end:position] != padding(member.size):
                break
            members.append(member)
    except ValueError:
        # Torn or damaged: what stands before it is what was asked for.
        return members
    return members
