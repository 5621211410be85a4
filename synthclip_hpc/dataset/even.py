"""`merge.even=true`: all samples once more, in tars of equal numbers of samples.

The run's own samples keep their keys (their positions in the balanced set). Those of other sources, whose keys need be
unique in their old tars only, are numbered on from there. Their captions are written as `.txt` whatever they came as.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any

from sharding import ustar
from sharding.files import make_directory, open_new, publish, remove, sync, write
from sharding.tar_scan import TarError, mapped, samples, scan
from synthclip_hpc.dataset.columns import OWN_SOURCE, PARTS, index_schema, tar_name
from synthclip_hpc.dataset.folder import Tar
from synthclip_hpc.dataset.tar_files import TarFiles

_WRITE_SAMPLES = 64

Row = dict[str, Any]


def write_even(
    rows: Iterable[Row],
    tars: TarFiles,
    folder: Path,
    shard_items: int,
    first_number: int,
    attempt: str,
    safe_point: Callable[[], None],
) -> Iterator[tuple[Tar, Any]]:
    """Write the samples of index rows into `folder`, one tar after the other; yield each with its own index rows.

    `tars` has the old ones, by the numbers of the rows. A tar that an earlier attempt finished is taken as it is.
    `first_number` is the key of the first sample of another source. Raises OSError as it comes.
    """
    numbers, remaining = count(first_number), iter(rows)
    for number in count():
        portion = list(islice(remaining, shard_items))
        if not portion:
            return
        keys = [row["key"] if row["source"] == OWN_SOURCE else f"{next(numbers):09d}" for row in portion]
        path = folder / tar_name(number)
        if not path.exists():
            _write(path, portion, keys, tars, attempt, safe_point)
        safe_point()
        yield _indexed(path, number, portion, keys)


def _write(
    path: Path,
    rows: list[Row],
    keys: list[str],
    tars: TarFiles,
    attempt: str,
    safe_point: Callable[[], None],
) -> None:
    make_directory(path.parent)
    staged = path.with_name(f".{path.name}.{attempt}")
    remove(staged)
    descriptor = open_new(staged)
    try:
        for start in range(0, len(rows), _WRITE_SAMPLES):
            safe_point()
            members: list[tuple[str, bytes]] = []
            for row, key in zip(rows[start : start + _WRITE_SAMPLES], keys[start:], strict=False):
                sample = tars.sample(row)
                members += [(f"{key}.{row['image']}", sample.image), (f"{key}.txt", sample.txt.encode())]
                if sample.json is not None:
                    members.append((f"{key}.json", sample.json))
            write(descriptor, ustar.members(members))
        write(descriptor, ustar.END)
        sync(descriptor)
    finally:
        os.close(descriptor)
    publish(staged, path)


def _indexed(path: Path, number: int, rows: list[Row], keys: list[str]) -> tuple[Tar, Any]:
    """Return a finished tar and the index of it, told by what stands in it."""
    import pyarrow as pa

    with mapped(path) as content:
        found = list(samples(scan(content, path), path))
        if [one.key for one in found] != keys:
            raise TarError(path, 0, "does not hold the samples it should; remove it, then resume")
        sha256 = hashlib.sha256(content).hexdigest()
    table: list[Mapping[str, Any]] = []
    for row, key, sample in zip(rows, keys, found, strict=True):
        places: Row = {"key": key, "tar": number}
        for part in PARTS:
            member = sample.members.get(row["image"] if part == "image" else part)
            places[f"{part}_offset"], places[f"{part}_size"] = (member.offset, member.size) if member else (None, None)
        table.append(row | places)
    schema = index_schema()
    columns = {name: [row[name] for row in table] for name in schema.names}
    return Tar(path, "", len(rows), sha256), pa.Table.from_pydict(columns, schema=schema)
