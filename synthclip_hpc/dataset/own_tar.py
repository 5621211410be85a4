"""The tars that the stage `render` wrote: every member is accounted for, and agrees with the captions of the set.

The JSON records of a tar are parsed together, by Arrow, and compared column by column: looking at a sample must not
take longer than hashing it does. Only when something is wrong are they looked at one by one, to name the first. The
content of the JPEGs needs no check of its own: the whole file's checksum is compared with the one it was sealed with.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from sharding.tar_scan import Member, TarError
from synthclip_hpc.dataset.columns import OWN_SOURCE
from synthclip_hpc.dataset.contents import Found
from synthclip_hpc.dataset.own_members import Places, as_written, scanned
from synthclip_hpc.rendering.samples import KEY_DIGITS, is_whole

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"


def read_own(content: bytes | mmap.mmap, path: Path, wanted: Any, recipe: str, number: int) -> Found:
    """Check a render tar against its captions and return its rows, number `number` of the data set.

    `wanted` is the Arrow table of its captions in order: position (uint64), caption_id (uint64), caption (string).
    `recipe` is what all its images must be of. The tar's checksum is for the caller. Raises TarError, which names the
    byte, for whatever does not fit.
    """
    keys = _keys(wanted)
    places = as_written(content, keys)
    return _found(content, path, places or scanned(content, path, keys), keys, wanted, recipe, number)


def find_damage(content: bytes | mmap.mmap, path: Path, wanted: Any, recipe: str) -> None:
    """Raise TarError where a tar whose checksum is wrong is damaged: each header, record and image is looked at.

    Returns when the damage shows nowhere: the tar is another one, as good as the one that was sealed.
    """
    keys = _keys(wanted)
    places = scanned(content, path, keys)
    _found(content, path, places, keys, wanted, recipe, 0)
    for image, record, at in zip(
        places.contents(content, "jpg"), places.contents(content, "json"), range(len(places.samples)), strict=True
    ):
        if not is_whole(json.loads(record), image):
            key, offset = keys[places.samples[at]], places.offsets["jpg"][at]
            raise TarError(path, offset, f"{key}.jpg or {key}.json is damaged: not the checksum in the record")


def _keys(wanted: Any) -> list[str]:
    keys: list[str] = _key_column(wanted).to_pylist()
    return keys


def _key_column(wanted: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.utf8_lpad(wanted.column("position").cast(pa.string()), KEY_DIGITS, "0").combine_chunks()


def _found(
    content: bytes | mmap.mmap,
    path: Path,
    places: Places,
    keys: Sequence[str],
    wanted: Any,
    recipe: str,
    number: int,
) -> Found:
    import pyarrow as pa

    num, num_rejects = len(places.samples), len(places.rejects)
    for place, start, size in zip(places.samples, places.offsets["jpg"], places.sizes["jpg"], strict=True):
        stop = start + size
        if content[start : start + 2] != _SOI or content[stop - 2 : stop] != _EOI or size < 4:
            raise TarError(path, start, f"{keys[place]}.jpg is no whole JPEG: FF D8 ... FF D9")
    rows = wanted.take(pa.array([*places.samples, *places.rejects], pa.int64()))
    captions, refused = rows.slice(0, num), rows.slice(num)
    told, raw = places.contents(content, "txt"), places.contents(content, "json")
    facts = _records(raw, captions, told, recipe)
    if facts is None:
        _tell_first_fault(path, places, keys, told, raw, captions, recipe)
    reasons = _reasons(content, path, places.reject_members, refused)

    # Arrow arrays, not lists: they are made while the other thread hashes, a table of them costs nothing after it.
    def of_samples(values: Any) -> Any:
        return pa.concat_arrays([values, pa.nulls(num_rejects, values.type)])

    columns: dict[str, Any] = {}
    for name, part in (("image", "jpg"), ("txt", "txt"), ("json", "json")):
        columns[f"{name}_offset"] = of_samples(pa.array(places.offsets[part], pa.int64()))
        columns[f"{name}_size"] = of_samples(pa.array(places.sizes[part], pa.int64()))
    columns["key"] = _key_column(rows)
    columns["tar"] = pa.repeat(pa.scalar(number, pa.uint32()), len(rows))
    columns["source"] = pa.repeat(OWN_SOURCE, len(rows))
    columns["caption_id"] = rows.column("caption_id").combine_chunks()
    columns["image"] = of_samples(pa.repeat("jpg", num))
    columns["recipe"] = of_samples(facts.column("recipe").combine_chunks())
    columns["seed"] = of_samples(facts.column("seed").combine_chunks())
    if reasons:
        columns["reject_reason"] = [None] * num + [reason for reason, _ in reasons]
        columns["tries"] = [None] * num + [tries for _, tries in reasons]
    return Found(columns, num, num_rejects)


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
    places: Places,
    keys: Sequence[str],
    told: Sequence[bytes],
    raw: Sequence[bytes],
    captions: Any,
    recipe: str,
) -> NoReturn:
    for at, row in enumerate(captions.to_pylist()):
        name = keys[places.samples[at]]
        if told[at] != row["caption"].encode():
            raise TarError(path, places.offsets["txt"][at], f"{name}.txt is not the caption {row['caption']!r}")
        name, offset = f"{name}.json", places.offsets["json"][at]
        try:
            record = json.loads(raw[at])
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
    raise TarError(path, places.offsets["json"][0], "the records do not hold one JSON object a sample, a line each")


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
