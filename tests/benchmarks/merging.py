"""The stage `merge` beside sha256 alone: verifying and indexing must cost little more than reading every byte.

The tars hold images of 22 kB, as JPEGs of 256 px have them, in random bytes between the marks of a JPEG.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sharding import ustar
from sharding.files import checksum
from synthclip_hpc.dataset.assembling import Assembled, assemble
from synthclip_hpc.dataset.caption_ids import write_caption_ids
from synthclip_hpc.dataset.columns import index_schema
from synthclip_hpc.dataset.contents import Contents, read_once
from synthclip_hpc.dataset.index_file import RowWriter, caption_ids
from synthclip_hpc.dataset.own_tar import read_own
from synthclip_hpc.stages.verified_tars import to_table
from tests.benchmarks.measure import Result

NUM_TARS, TAR_SAMPLES, IMAGE_BYTES = 24, 1000, 22_000
FLOOR = 0.8
RECIPE = "0123456789abcdef"
_ROUNDS = 5


def measure(folder: Path, num_tars: int = NUM_TARS) -> list[Result]:
    import pyarrow as pa

    folder.mkdir(exist_ok=True)
    captions = [
        pa.table({name: pa.array(values, kind) for name, values, kind in _captions(tar)}) for tar in range(num_tars)
    ]
    tars = [_write(folder / f"{tar:05d}.tar", table.to_pylist()) for tar, table in enumerate(captions)]
    size = sum(path.stat().st_size for path in tars)
    hashing, merging = [], []
    for _ in range(_ROUNDS):  # alternately, as other work on the machine comes and goes
        started = time.perf_counter()
        for path in tars:
            checksum(path)
        hashing.append(time.perf_counter() - started)
        started = time.perf_counter()
        num_rows = _merge(folder, tars, captions)
        merging.append(time.perf_counter() - started)
    assert num_rows == num_tars * TAR_SAMPLES
    ratio = min(hashing) / min(merging)
    what = f"merge {num_rows:,} samples of {IMAGE_BYTES // 1000} kB: pace over that of sha256 alone"
    return [
        Result(what, f"{ratio:.2f} ({size / min(merging) / 1e9:.2f} GB/s)", f">= {FLOOR}", ratio >= FLOOR),
        Result("  sha256 alone", f"{size / min(hashing) / 1e9:.2f} GB/s", "-", None),
        Result("  samples", f"{num_rows / min(merging):,.0f} a second", "-", None),
    ]


def _captions(tar: int) -> list[tuple[str, list[object], str]]:
    positions = range(tar * TAR_SAMPLES, (tar + 1) * TAR_SAMPLES)
    ids = [int.from_bytes(hashlib.blake2b(b"%d" % one, digest_size=8).digest(), "big") for one in positions]
    texts = [f"A photograph of number {one}, standing on a small wooden table at noon." for one in positions]
    return [
        ("position", list(positions), "uint64"),
        ("caption_id", list(ids), "uint64"),
        ("caption", list(texts), "string"),
    ]


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    image = b"\xff\xd8\xff\xe0" + os.urandom(IMAGE_BYTES - 6) + b"\xff\xd9"
    members: list[tuple[str, bytes]] = []
    for row in rows:
        record = {
            "caption_id": str(row["caption_id"]),
            "concept_id": str(row["caption_id"]),
            "concept": "wooden table",
            "n": 0,
            "caption": row["caption"],
            "source": "captions",
            "concepts": ["wooden table", "table", "photograph"],
            "seed": 1234567890123456789,
            "tries": 1,
            "crc32": 1234567890,
            "recipe": RECIPE,
            "renderer": "glyphs",
            "model": "twemoji-2.0.0",
            "revision": "",
            "steps": 0,
            "guidance": 0.0,
        }
        key = f"{row['position']:09d}"
        members += [(f"{key}.jpg", image), (f"{key}.txt", str(row["caption"]).encode())]
        members.append((f"{key}.json", json.dumps(record).encode()))
    path.write_bytes(ustar.members(members) + ustar.END)
    return path


def _merge(folder: Path, tars: list[Path], captions: list[object]) -> int:
    """Do what the two phases do for each tar and row; without the few files that do not grow with the set."""
    tables, known = [], []
    with ThreadPoolExecutor(1) as hasher:
        for number, path in enumerate(tars):

            def read(content: object, path: Path = path, number: int = number) -> object:
                return read_own(content, path, captions[number], RECIPE, number)  # type: ignore[arg-type]

            contents: Contents = read_once(path, read, hasher)  # type: ignore[arg-type]
            tables.append(to_table(contents))
            counts = {"samples": contents.found.num_samples, "rejects": contents.found.num_rejects}
            known.append({"tar": number, "source": None, "sha256": contents.sha256, **counts})
    verified = ((table, [one]) for table, one in zip(tables, known, strict=True))
    path = folder / "index.parquet"
    with RowWriter(path, index_schema()) as rows:
        for table in assemble(verified, lambda number: tars[number], [], lambda rejects: None, Assembled()):
            rows.add(table)
    write_caption_ids(folder / "caption-ids.npy", lambda: caption_ids(path), rows.num_rows)
    return rows.num_rows
