"""Tars of WebDatasets from elsewhere, of any writer: a tar must be sound, its samples need not all be.

A sample is usable if it has an image that looks whole and a caption: `.txt`, or the text `caption` of its `.json`. What
is not is counted as a reject, with its reason; the tar itself stays as it is.
"""

from __future__ import annotations

import json
import mmap
from collections import defaultdict
from pathlib import Path
from typing import Any

from sharding.tar_scan import Member, Sample, samples, scan
from synthclip_hpc.dataset.columns import IMAGE_EXTENSIONS, PARTS
from synthclip_hpc.dataset.contents import Found
from synthclip_hpc.dataset.images import image_fault


def usable(sample: Sample) -> bool:
    """Tell whether a sample has the parts it needs, by their names alone."""
    return _image(sample) is not None and ("txt" in sample.members or "json" in sample.members)


def read_foreign(content: bytes | mmap.mmap, path: Path, source: str, number: int) -> Found:
    """Return the rows of a tar of the source, number `number` of the data set: samples in order, then rejects.

    Raises TarError for a tar that is damaged, and for samples that no reader would find: members of one key that are
    there twice or apart from one another.
    """
    kept, rejects = defaultdict[str, list[Any]](list), defaultdict[str, list[Any]](list)
    num_kept = num_rejects = 0
    for sample in samples(scan(content, path), path, ordered=False):
        row = {"key": sample.key, "tar": number, "source": source}
        reason = _add_parts(row, sample, content)
        if reason is None:
            num_kept += 1
            into = kept
        else:
            num_rejects += 1
            row |= {f"{part}_{what}": None for part in PARTS for what in ("offset", "size")}
            row |= {"image": None, "recipe": None, "seed": None}
            into = rejects
        for name, value in (row | {"reject_reason": reason, "tries": None}).items():
            into[name].append(value)
    return Found({name: kept[name] + rejects[name] for name in kept or rejects}, num_kept, num_rejects)


def caption_of(text: bytes | None, record: Any) -> str | None:
    """Return the caption of a sample: its text, else `caption` of its record; None when there is none."""
    if text is not None:
        try:
            return text.decode().strip() or None
        except UnicodeDecodeError:
            return None
    caption = record.get("caption") if isinstance(record, dict) else None
    return caption.strip() or None if isinstance(caption, str) else None


def _add_parts(row: dict[str, Any], sample: Sample, content: bytes | mmap.mmap) -> str | None:
    """Fill in a row; return why the sample is not usable, None if it is."""
    extension = _image(sample)
    parts = {"image": sample.members.get(extension or ""), **{one: sample.members.get(one) for one in PARTS[1:]}}
    for part, member in parts.items():
        row[f"{part}_offset"], row[f"{part}_size"] = (member.offset, member.size) if member else (None, None)
    record, reason = _record(parts["json"], content)
    row |= {"image": extension, "caption_id": _number(record, "caption_id", 64)}
    row |= {"seed": _number(record, "seed", 63), "recipe": _text(record, "recipe")}
    image = parts["image"]
    if extension is None or image is None:
        return "no_image"
    if image_fault(extension, content[image.offset : image.offset + image.size]):
        return "damaged_image"
    text = parts["txt"]
    if caption_of(None if text is None else content[text.offset : text.offset + text.size], record) is None:
        return reason or "no_caption"
    return None


def _image(sample: Sample) -> str | None:
    return next((extension for extension in IMAGE_EXTENSIONS if extension in sample.members), None)


def _record(member: Member | None, content: bytes | mmap.mmap) -> tuple[dict[str, Any], str | None]:
    """Return the record and, where it is none, the reason that counts if nothing else gives a caption."""
    if member is None:
        return {}, None
    try:
        record = json.loads(content[member.offset : member.offset + member.size])
    except (ValueError, RecursionError):
        return {}, "damaged_json"
    return (record, None) if isinstance(record, dict) else ({}, "damaged_json")


def _number(record: dict[str, Any], name: str, bits: int) -> int | None:
    """Return a number that a record gives as such or as its digits; None when it is not below 2^bits."""
    value = record.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << bits else None


def _text(record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    return value if isinstance(value, str) else None
