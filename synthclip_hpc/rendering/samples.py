"""Images as members of a WebDataset tar, and what is known of one before and after it is drawn."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharding.tar_scan import Member

REJECT_FOLDER = "__reject__"
"""Where rejected items lie in a tar: readers of WebDatasets pass over names without a dot."""
KEY_DIGITS = 9
CRC = "crc32"
"""The last entry of a record: CRC-32 of the JPEG followed by the record without this entry. A partial tar is judged by
it after a node was lost; the finished one has checksums of its own."""


@dataclass(frozen=True)
class Item:
    """A caption of the balanced set, to be drawn."""

    position: int
    caption_id: int
    concept_id: int | None
    concept: str | None
    n: int | None
    caption: str
    source: str
    concepts: tuple[str, ...]
    """Names of all concepts that the caption names."""

    @property
    def key(self) -> str:
        """The name of its members, less their extensions."""
        return f"{self.position:0{KEY_DIGITS}d}"


@dataclass(frozen=True)
class Made:
    """How an image came about; together with its item, what `key.json` says."""

    seed: int
    tries: int
    recipe: str
    facts: Mapping[str, Any]
    """The renderer's and the picture's own: JSON values, of the same keys and types in all samples of a run."""


def sample_members(item: Item, made: Made, jpeg: bytes) -> list[tuple[str, bytes]]:
    """Return (name, content) of the members of one sample. Raises ValueError for a fact whose name is taken."""
    key, record = item.key, _of_item(item) | _of_image(made)
    if taken := {*record, CRC} & made.facts.keys():
        raise ValueError(f"a renderer's facts must not be called {', '.join(sorted(taken))}: records have these anyway")
    record |= made.facts
    line = _line(record | {CRC: _checksum(record, jpeg)})
    return [(f"{key}.jpg", jpeg), (f"{key}.txt", item.caption.encode()), (f"{key}.json", line)]


def made_of(record: Mapping[str, Any], jpeg: bytes, item: Item, recipe: str) -> Made | None:
    """Return how an image of another run came about, from its `key.json`; None when it is not this item's image."""
    try:
        made = Made(record["seed"], record["tries"], record["recipe"], {})
        same = record["caption_id"] == str(item.caption_id) and record["caption"] == item.caption
        whole = is_whole(record, jpeg)
    except KeyError:  # a record of another program
        return None
    if not (same and whole and made.recipe == recipe):
        return None
    known = _of_item(item).keys() | _of_image(made).keys() | {CRC}
    return replace(made, facts={key: value for key, value in record.items() if key not in known})


def _of_item(item: Item) -> dict[str, Any]:
    """Ids are strings: 64 bits without a sign fit neither JSON readers nor the integers of `datasets`."""
    return {
        "caption_id": str(item.caption_id),
        "concept_id": "" if item.concept_id is None else str(item.concept_id),
        "concept": item.concept or "",
        "n": -1 if item.n is None else item.n,
        "caption": item.caption,
        "source": item.source,
        "concepts": list(item.concepts),
    }


def _of_image(made: Made) -> dict[str, Any]:
    return {"seed": made.seed, "tries": made.tries, "recipe": made.recipe}


def reject_member(item: Item, reason: str, tries: int) -> tuple[str, bytes]:
    """Return (name, content) of the member that stands for an item without an image."""
    record = {"caption_id": str(item.caption_id), "reason": reason, "tries": tries}
    return f"{REJECT_FOLDER}/{item.key}", _line(record | {CRC: _checksum(record)})


def check_item(item: Item, data: bytes, members: Sequence[Member], recipe: str) -> tuple[int, str | None]:
    """Look at the members at the front of `members`: they must be those of `item`, whole and right.

    Returns how many they are, and the reason if the item was rejected. Raises ValueError saying what is wrong.
    """
    if not members:
        raise ValueError(f"{item.key} is missing")
    first = members[0]
    if first.name == f"{REJECT_FOLDER}/{item.key}":
        record = _record(data, first)
        if record.get("caption_id") != str(item.caption_id) or not is_whole(record):
            raise ValueError(f"{first.name} is not that of caption {item.caption_id}")
        return 1, record["reason"]
    names = [member.name for member in members[:3]]
    if names != [f"{item.key}.{extension}" for extension in ("jpg", "txt", "json")]:
        raise ValueError(f"{', '.join(names)} instead of the members of {item.key}")
    jpeg, text, record = _content(data, first), _content(data, members[1]), _record(data, members[2])
    if text != item.caption.encode() or record.get("caption_id") != str(item.caption_id):
        raise ValueError(f"{item.key} is not that of caption {item.caption_id}")
    if record.get("recipe") != recipe:
        raise ValueError(f"{item.key} was made by recipe {record.get('recipe')}, wanted {recipe}")
    if not is_whole(record, jpeg):
        raise ValueError(f"{first.name} or {names[2]} is damaged: not the checksum in it")
    return 3, None


def _checksum(record: Mapping[str, Any], jpeg: bytes = b"") -> int:
    return zlib.crc32(_line(record), zlib.crc32(jpeg))


def is_whole(record: Mapping[str, Any], jpeg: bytes = b"") -> bool:
    """Tell whether a record, and the image it tells of, are as they were written."""
    rest = {key: value for key, value in record.items() if key != CRC}
    return record.get(CRC) == _checksum(rest, jpeg)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()


def _content(data: bytes, member: Member) -> bytes:
    return data[member.offset : member.offset + member.size]


def _record(data: bytes, member: Member) -> dict[str, Any]:
    try:
        record = json.loads(_content(data, member))
    except ValueError as error:
        raise ValueError(f"{member.name} is no JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"{member.name} is no JSON object")
    return record
