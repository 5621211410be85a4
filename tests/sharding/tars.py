"""Items of a tar in the way an application would lay them out, and its judgement of a partial tar."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import NamedTuple

from sharding import ustar
from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from sharding.tar_log import Kept
from sharding.tar_scan import Member, mapped, scan

REJECTS = "__reject__/"
BATCH_ITEMS = 2


class Item(NamedTuple):
    """One item: a picture and its text, or None and the reason."""

    picture: bytes | None
    text: str


def item_bytes(number: int, item: Item) -> bytes:
    key = f"{number:09d}"
    text = item.text.encode()
    if item.picture is None:
        reject = json.dumps({"reason": item.text, "crc": zlib.crc32(text)}).encode()
        return ustar.members([(REJECTS + key, reject)])
    record = json.dumps({"picture": zlib.crc32(item.picture), "text": zlib.crc32(text), "key": key}).encode()
    return ustar.members([(f"{key}.jpg", item.picture), (f"{key}.txt", text), (f"{key}.json", record)])


def all_bytes(items: list[Item]) -> list[bytes]:
    return [item_bytes(number, item) for number, item in enumerate(items)]


def _read(data: bytes, members: list[Member], number: int) -> tuple[Item, int] | None:
    """The item that the members begin with, and how many of them it has; None if it is not whole and right."""
    key = f"{number:09d}"
    contents = [data[member.offset : member.offset + member.size] for member in members[:3]]
    try:
        if members and members[0].name == REJECTS + key:
            item = Item(None, json.loads(contents[0])["reason"])
            num_members = 1
        elif [member.name for member in members[:3]] == [f"{key}.jpg", f"{key}.txt", f"{key}.json"]:
            item = Item(contents[0], contents[1].decode())
            num_members = 3
        else:
            return None
    except (ValueError, KeyError, TypeError):
        return None
    # What is not in a checksum is made again and compared.
    whole = item_bytes(number, item) == data[members[0].offset - 512 : members[num_members - 1].end]
    return (item, num_members) if whole else None


def whole_items(data: bytes, members: list[Member]) -> Kept[list[Item]]:
    """Keep every leading item that is right."""
    items, end, at = list[Item](), 0, 0
    while found := _read(data, members[at : at + 3], len(items)):
        items.append(found[0])
        at += found[1]
        end = members[at - 1].end
    return Kept(len(items), end, items)


def whole_batches(data: bytes, members: list[Member]) -> Kept[list[Item]]:
    """Keep whole batches of `BATCH_ITEMS`."""
    items = whole_items(data, members).facts
    items = items[: len(items) // BATCH_ITEMS * BATCH_ITEMS]
    return Kept(len(items), sum(map(len, all_bytes(items))), items)


def count_tar(path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count a finished tar; ValueError if it is damaged."""
    with mapped(path) as data:
        members = list(scan(data, path))
        kept = whole_items(bytes(data), members)
    if kept.num_items != shard.stop - shard.start or members[-1].end != kept.end:
        raise ValueError(f"{path} holds {kept.num_items} whole items")
    return Counts.of([item.text if item.picture is None else None for item in kept.facts])
