"""How fast samples become tars: one attempt's `TarLog` beside webdataset's ShardWriter, in memory; and found again."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from sharding import ustar
from sharding.directory import PhaseDirectory
from sharding.tar_log import Kept, TarLog
from sharding.tar_scan import Member, samples, scan
from tests.benchmarks.measure import Result

TIMES = 7
BATCH_ITEMS = 16
SHARD_ITEMS = 1000
# (bytes of the JPEG, shards, floor): 256 px and what 64 px come to, with texts of about 700 bytes.
CASES = [(21_300, 4, 2.5), (5_300, 8, 5.0)]


def measure(folder: Path) -> list[Result]:
    shm = Path("/dev/shm")
    # Where there is no such file system, figures of the disk are better than none.
    with tempfile.TemporaryDirectory(prefix="synthclip-bench-", dir=shm if shm.is_dir() else folder) as place:
        return [result for case in CASES for result in _compare(Path(place), *case)]


def _compare(folder: Path, jpeg_bytes: int, num_shards: int, floor: float) -> list[Result]:
    num_items = num_shards * SHARD_ITEMS
    items = _items(jpeg_bytes, num_items)
    ours, theirs, hashed, scanned = [], [], [], []
    # In turn, so that what disturbs the machine disturbs both.
    for number in range(TIMES):
        ours.append(_write_ours(folder / f"ours{number}", items, num_shards))
        theirs.append(_write_theirs(folder / f"theirs{number}", items))
        data = (folder / f"ours{number}" / "00000.tar").read_bytes()
        hashed.append(_seconds_of_hash(data))
        scanned.append(_seconds_of_scan(data))
        for name in ("ours", "theirs"):
            shutil.rmtree(folder / f"{name}{number}")
    sample_bytes = sum(len(content) for content in items[0][1:])
    what = f"samples of {sample_bytes / 1000:.1f} kB"
    rate, their_rate = num_items / statistics.median(ours), num_items / statistics.median(theirs)
    # Each pair ran under the same load.
    ratio = statistics.median(one / other for one, other in zip(theirs, ours, strict=True))
    scan_ratio = statistics.median(one / other for one, other in zip(scanned, hashed, strict=True))
    scan_us = statistics.median(scanned) / SHARD_ITEMS * 1e6
    return [
        Result(f"{what} into tars", f"{rate:,.0f}/s", "-", None),
        Result(f"{what} by webdataset's ShardWriter", f"{their_rate:,.0f}/s", "-", None),
        Result(f"{what}: times as fast as ShardWriter", f"{ratio:.2f}", f">= {floor:g}", ratio >= floor),
        Result(f"{what}: scan and group", f"{scan_us:.1f} us a sample, {scan_ratio:.2f} of sha256", "-", None),
    ]


def _items(jpeg_bytes: int, num_items: int) -> list[tuple[str, bytes, bytes, bytes]]:
    """(key, jpg, txt, json) of so many samples."""
    random_bytes = random.Random(0).randbytes
    pool = [random_bytes(jpeg_bytes) for _ in range(64)]
    caption = "a photo of a red fox that sleeps under an old wooden bridge"
    record = {"caption": caption, **{f"field_{number:02d}": number * 1_000_003 for number in range(24)}}
    text = json.dumps(record).encode()
    return [(f"{number:09d}", pool[number % 64], caption.encode(), text) for number in range(num_items)]


def _write_ours(folder: Path, items: list[tuple[str, bytes, bytes, bytes]], num_shards: int) -> float:
    """Seconds of writing; leaves the tars as `folder/00000.tar` and so on."""
    folder.mkdir()
    directory = PhaseDirectory(folder / "phase")
    started = time.perf_counter()
    for shard in range(num_shards):
        with TarLog.open(directory, shard, "1_0_0", _nothing) as log:
            for start in range(shard * SHARD_ITEMS, (shard + 1) * SHARD_ITEMS, BATCH_ITEMS):
                stop = min(start + BATCH_ITEMS, (shard + 1) * SHARD_ITEMS)
                log.append(
                    ustar.members(
                        member
                        for key, jpg, txt, record in items[start:stop]
                        for member in ((f"{key}.jpg", jpg), (f"{key}.txt", txt), (f"{key}.json", record))
                    )
                )
            log.finish().rename(folder / f"{shard:05d}.tar")
    return time.perf_counter() - started


def _nothing(data: bytes, members: list[Member]) -> Kept[None]:
    return Kept(0, 0, None)


def _write_theirs(folder: Path, items: list[tuple[str, bytes, bytes, bytes]]) -> float:
    """Seconds of the same by webdataset, given bytes that it need not encode."""
    from webdataset import ShardWriter

    folder.mkdir()
    started = time.perf_counter()
    with ShardWriter(str(folder / "%05d.tar"), maxcount=SHARD_ITEMS, verbose=0, encoder=False, mtime=0) as writer:
        for key, jpg, txt, record in items:
            writer.write({"__key__": key, "jpg": jpg, "txt": txt, "json": record})
    return time.perf_counter() - started


def _seconds_of_hash(data: bytes) -> float:
    started = time.perf_counter()
    hashlib.sha256(data).digest()
    return time.perf_counter() - started


def _seconds_of_scan(data: bytes) -> float:
    started = time.perf_counter()
    found = list(samples(scan(data, "bench"), "bench"))
    seconds = time.perf_counter() - started
    if len(found) != SHARD_ITEMS or {len(one.members) for one in found} != {3}:
        raise RuntimeError(f"{len(found)} samples found, {SHARD_ITEMS} written")
    return seconds
