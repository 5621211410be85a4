"""The tars that the stage `render` wrote: every member is accounted for, and agrees with the captions of the set.

The JSON records of a tar are parsed together, by Arrow, and compared column by column: looking at a sample must not
take longer than hashing it does. Only when something is wrong are they looked at one by one, to name the first. The
content of the JPEGs needs no check of its own: the whole file's checksum is compared with the one it was sealed with.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sharding.tar_scan import Member, Sample, TarError, samples, scan
from synthclip_hpc.dataset.columns import OWN_SOURCE
from synthclip_hpc.dataset.contents import Found
from synthclip_hpc.dataset.own_members import PARTS, REJECT, as_written

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"


def read_own(content: bytes | mmap.mmap, path: Path, wanted: Any, recipe: str, number: int) -> Found:
    """Check a render tar against its captions and return its rows, number `number` of the data set.

    `wanted` is the Arrow table of its captions in order: position (uint64), caption_id (uint64), caption (string).
    `recipe` is what all its images must be of. Raises TarError, which names the byte, for whatever does not fit.
    """
    keys = [f"{position:09d}" for position in wanted.column("position").to_pylist()]
    found = as_written(content, keys)
    if found is None:
        kept, rejects = _scanned(content, path)
        places = _places(kept, rejects, keys, path)
    else:
        kept, rejects, places = found
    return _found(content, path, kept, rejects, places, wanted, recipe, number)


def _scanned(content: bytes | mmap.mmap, path: Path) -> tuple[list[Sample], list[Member]]:
    """Return samples and rejects of a tar by whatever writer."""
    rejects: list[Member] = []

    def members() -> Iterator[Member]:
        for member in scan(content, path):
            if member.name.startswith(REJECT):
                rejects.append(member)
            elif "." not in member.name:
                raise TarError(path, member.offset, f"member {member.name!r} is neither of a sample nor a reject")
            else:
                yield member

    kept = list(samples(members(), path))
    for sample in kept:
        if sample.members.keys() != PARTS:
            first = next(iter(sample.members.values()))
            raise TarError(path, first.offset, f"sample {sample.key} has {sorted(sample.members)}, not jpg, txt, json")
    return kept, rejects


def _places(
    kept: Sequence[Sample], rejects: Sequence[Member], keys: Sequence[str], path: Path
) -> tuple[list[int], list[int]]:
    """Return which captions the samples and the rejects are of; each caption must have one of the two."""
    places = {key: place for place, key in enumerate(keys)}
    found: tuple[list[int], list[int]] = ([], [])
    for into, named in (
        (found[0], ((sample.key, sample.members["jpg"]) for sample in kept)),
        (found[1], ((member.name.removeprefix(REJECT), member) for member in rejects)),
    ):
        for key, member in named:
            place = places.pop(key, None)
            if place is None:
                raise TarError(path, member.offset, f"{key} is there twice, or is no position of this shard")
            into.append(place)
    if places:
        raise TarError(path, 0, f"{len(places)} of {len(keys)} items are missing, the first is {next(iter(places))}")
    return found


def _found(
    content: bytes | mmap.mmap,
    path: Path,
    kept: Sequence[Sample],
    rejects: Sequence[Member],
    places: tuple[list[int], list[int]],
    wanted: Any,
    recipe: str,
    number: int,
) -> Found:
    import pyarrow as pa

    num = len(kept)
    columns: dict[str, Any] = {}
    images, texts, records = ([sample.members[part] for sample in kept] for part in ("jpg", "txt", "json"))
    for image in images:
        start, stop = image.offset, image.offset + image.size
        if content[start : start + 2] != _SOI or content[stop - 2 : stop] != _EOI or image.size < 4:
            raise TarError(path, start, f"{image.name} is no whole JPEG: FF D8 ... FF D9")
    captions = wanted.take(pa.array(places[0], pa.int64()))
    told = [content[text.offset : text.offset + text.size] for text in texts]
    raw = [content[record.offset : record.offset + record.size] for record in records]
    facts = _records(raw, captions, told, recipe)
    if facts is None:
        _tell_first_fault(path, texts, told, records, raw, captions, recipe)
    refused = wanted.take(pa.array(places[1], pa.int64()))
    reasons = _reasons(content, path, rejects, refused)
    for part, members in (("image", images), ("txt", texts), ("json", records)):
        columns[f"{part}_offset"] = [member.offset for member in members] + [None] * len(rejects)
        columns[f"{part}_size"] = [member.size for member in members] + [None] * len(rejects)
    columns["key"] = [sample.key for sample in kept] + [member.name.removeprefix(REJECT) for member in rejects]
    columns["tar"] = [number] * (num + len(rejects))
    columns["source"] = [OWN_SOURCE] * (num + len(rejects))
    columns["caption_id"] = pa.concat_arrays(
        [column.combine_chunks() for column in (captions.column("caption_id"), refused.column("caption_id"))]
    )
    columns["image"] = ["jpg"] * num + [None] * len(rejects)
    columns["recipe"] = facts.column("recipe").to_pylist() + [None] * len(rejects)
    columns["seed"] = facts.column("seed").to_pylist() + [None] * len(rejects)
    columns["reject_reason"] = [None] * num + [reason for reason, _ in reasons]
    columns["tries"] = [None] * num + [tries for _, tries in reasons]
    return Found(columns, num, len(rejects))


def _records(raw: Sequence[bytes], captions: Any, told: Sequence[bytes], recipe: str) -> Any | None:
    """Parse all records at once; None when anything does not parse or agree."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json as pj

    schema = pa.schema(
        [("caption_id", pa.string()), ("caption", pa.string()), ("recipe", pa.string()), ("seed", pa.int64())]
    )
    if not raw:
        return schema.empty_table()
    data = b"\n".join(raw)
    try:
        table = pj.read_json(
            pa.BufferReader(data),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
        if table.num_rows != len(raw) or any(column.null_count for column in table.columns):
            return None
        wanted = captions.column("caption")
        same = (
            table.column("caption_id").equals(captions.column("caption_id").cast(pa.string())),
            table.column("caption").equals(wanted),
            pa.chunked_array([pa.array(told, pa.binary())]).equals(wanted.cast(pa.binary())),
            pc.unique(table.column("recipe")).to_pylist() == [recipe],
        )
    except pa.ArrowException:
        return None
    return table if all(same) else None


def _tell_first_fault(
    path: Path,
    texts: Sequence[Member],
    told: Sequence[bytes],
    records: Sequence[Member],
    raw: Sequence[bytes],
    captions: Any,
    recipe: str,
) -> NoReturn:
    for place, row in enumerate(captions.to_pylist()):
        if told[place] != row["caption"].encode():
            raise TarError(path, texts[place].offset, f"{texts[place].name} is not the caption {row['caption']!r}")
        name, offset = records[place].name, records[place].offset
        try:
            record = json.loads(raw[place])
        except ValueError as error:
            raise TarError(path, offset, f"{name} is no JSON: {error}") from error
        if not isinstance(record, dict):
            raise TarError(path, offset, f"{name} is no JSON object")
        for key, value in (("caption_id", str(row["caption_id"])), ("caption", row["caption"])):
            if record.get(key) != value:
                raise TarError(path, offset, f"{name} has {key} {record.get(key)!r}, the balanced set has {value!r}")
        if not isinstance(record.get("seed"), int) or not isinstance(record.get("recipe"), str):
            raise TarError(path, offset, f"{name} lacks a seed (a whole number) or a recipe (text)")
        if record["recipe"] != recipe:
            raise TarError(path, offset, f"{name} is of recipe {record['recipe']}, this run's is {recipe}")
    raise TarError(path, records[0].offset, "the records do not hold one JSON object a sample, a line each")


def _reasons(
    content: bytes | mmap.mmap, path: Path, rejects: Sequence[Member], refused: Any
) -> list[tuple[str, int | None]]:
    found = []
    for member, caption_id in zip(rejects, refused.column("caption_id").to_pylist(), strict=True):
        raw = content[member.offset : member.offset + member.size]
        try:
            record = json.loads(raw)
            reason, tries = record["reason"], record["tries"]
            fits = record["caption_id"] == str(caption_id) and isinstance(reason, str) and isinstance(tries, int)
        except (ValueError, KeyError, TypeError) as error:
            raise TarError(path, member.offset, f"{member.name} is no record of a reject: {error}") from error
        if not fits or not reason:
            raise TarError(path, member.offset, f"{member.name} is not the reject of caption {caption_id}")
        found.append((reason, tries))
    return found
