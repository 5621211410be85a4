"""The whole stage `balance` on many captions: time, memory, and how both grow.

The captions are the real ones of the test data (`SYNTHCLIP_TEST_DATA`), each varied by a word that no bank has until
there are as many as wanted; the bank is the free one of 500,000 entries. Measured is one `submit`, as a user types it.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

from slurm.onemachine import processes
from tests.benchmarks.measure import Result, command, environment
from tests.data import data_folder

SIZES = (1_000_000, 3_000_000, 10_000_000)
FLOOR_S = 360.0
FLOOR_BYTES = 1.5e9
KEPT = 0.3
ROWS_PER_FILE = 500_000


def measure(folder: Path, sizes: tuple[int, ...] = SIZES) -> list[Result]:
    data = data_folder()
    bank = data / "concept-bank-free500k" / "bank.tsv.zst"
    results, rates = [], []
    for size in sizes:
        captions = write_captions(data / "captions-real" / "captions.tsv.zst", folder / f"captions{size}", size)
        seconds, own, resident = balance(captions, bank, folder / f"run{size}", int(size * KEPT))
        rates.append(seconds / size)
        last = size == SIZES[-1]
        what = f"balance {size:,} captions to {int(size * KEPT):,}, 2 workers"
        floor_s, floor_bytes = (f"< {FLOOR_S:g} s", f"< {FLOOR_BYTES / 1e9:g} GB") if last else ("-", "-")
        results.append(Result(what, f"{seconds:.0f} s", floor_s, seconds < FLOOR_S if last else None))
        held = f"{own / 1e9:.2f} GB"
        results.append(
            Result("  largest process, its own memory", held, floor_bytes, own < FLOOR_BYTES if last else None)
        )
        what, held = "  largest process, pages of mapped files included", f"{resident / 1e9:.2f} GB"
        results.append(Result(what, held, floor_bytes, resident < FLOOR_BYTES if last else None))
    if len(sizes) > 1:
        growth = rates[-1] / rates[0]
        what = f"time a caption at {sizes[-1]:,} over that at {sizes[0]:,}"
        results.append(Result(what, f"{growth:.2f}", "<= 1.1 (linear)", growth <= 1.1))
    return results


def write_captions(source: Path, folder: Path, size: int) -> Path:
    """Write so many distinct captions as Parquet files."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pa.CompressedInputStream(pa.OSFile(str(source)), "zstd") as stream:
        lines = stream.read().decode().splitlines()
    real = pa.array([line.split("\t")[3] for line in lines])
    folder.mkdir()
    for start in range(0, size, ROWS_PER_FILE):
        rows = pa.array(range(start, min(size, start + ROWS_PER_FILE)))
        rounds = pc.divide(rows, len(real))
        texts = real.take(pc.subtract(rows, pc.multiply(rounds, len(real))))
        varied = pc.binary_join_element_wise(texts, pc.cast(rounds, pa.string()), " qx")
        pq.write_table(pa.table({"caption": varied}), folder / f"{start // ROWS_PER_FILE:05d}.parquet")
    return folder


def balance(captions: Path, bank: Path, run: Path, target: int) -> tuple[float, float, float]:
    """Return the seconds of one run, and the most bytes that any process of it held: its own, and with mapped files."""
    words = command(
        *("submit", "stage=balance", "cluster=local", "workers=2", "wait=true", f"run={run}"),
        *(f"concepts.bank={bank}", f"balance.source={captions}", f"balance.target={target}"),
    )
    own, resident, ended = 0.0, 0.0, threading.Event()

    def watch() -> None:
        nonlocal own, resident
        while not ended.wait(0.2):
            for pid in processes.process_table():
                everything, shared = _memory(pid, run)
                own, resident = max(own, everything - shared), max(resident, everything)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        done = subprocess.run(words, env=environment(), capture_output=True, encoding="utf-8", check=False)
        seconds = time.perf_counter() - started
    finally:
        ended.set()
        watcher.join()
    # What it kept is told by the last phase, which has counted everything again.
    kept = [line.split() for line in done.stdout.splitlines() if line.startswith("  kept ")]
    if done.returncode != 0 or kept != [["kept", f"{target:,}"]]:
        raise RuntimeError(f"balance ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds, own, resident


def _memory(pid: int, run: Path) -> tuple[float, float]:
    """Return the bytes that a process of the run has in memory, and those of them that are pages of files."""
    try:
        if str(run).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return 0.0, 0.0
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0, 0.0
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    return float(resident) * page_bytes, float(shared) * page_bytes
