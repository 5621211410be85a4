"""Matching 176,015 real captions against a bank of 500,000 entries, beside bare Aho-Corasick libraries and a loop.

Ours is all of `Matcher.match`: spacing, matching, each entry once a caption, the result as two arrays. The libraries
get captions that are spaced already, and their hits stay a list of Python objects for each caption, entries found twice
included. The loop is the rule itself, `entry in caption`, on 2,000 captions; what it finds must be what we find.

The sides take turns, and the ratio is the median over rounds, because the machine has other work to do. Run as a
module, with the folder of the data, it prints one comparison as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthclip_hpc.curation.matching import Matcher
from tests.benchmarks.measure import Result, environment, run_process
from tests.data import data_folder

ROUNDS = 7
NUM_NAIVE = 2000
RATIO_FLOOR = 0.8
SPEED_FLOOR = 150_000
BUILD_FLOOR_S = 5.0
MEMORY_FLOOR_BYTES = 200e6
MARKS = ",.;:?!`"


def read_captions(data: Path) -> list[str]:
    """Return the captions of captions-real, in order. Raises FileNotFoundError when they are not there."""
    return [line.split("\t")[3] for line in _lines(data / "captions-real" / "captions.tsv.zst")]


def read_entries(data: Path) -> list[str]:
    """Return the entries of the free bank, in order. Raises FileNotFoundError when they are not there."""
    return [line.split("\t")[0] for line in _lines(data / "concept-bank-free500k" / "bank.tsv.zst")]


def _lines(path: Path) -> list[str]:
    import pyarrow as pa

    with pa.input_stream(str(path), compression="zstd") as stream:
        return stream.read().decode("utf-8").removesuffix("\n").split("\n")


def measure(folder: Path) -> list[Result]:
    data = data_folder()
    if not data.is_dir():
        return [Result("matching", f"not measured: no folder {data}", "-", None)]
    words = [sys.executable, "-m", "tests.benchmarks.matching", str(data)]
    found = json.loads(run_process(words, folder, environment()).output)
    return [
        *(_ratio_result(f"matching over bare {name}", found["ratios"][name]) for name in found["ratios"]),
        _above("matching, captions a second and core", found["captions_per_s"], SPEED_FLOOR),
        _below("matching, index of 500,000 entries", found["build_s"], BUILD_FLOOR_S, 1, " s"),
        _below("matching, growth by the index", found["index_bytes"], MEMORY_FLOOR_BYTES, 1e6, " MB"),
        _below("matching, growth by index and matches", found["all_bytes"], MEMORY_FLOOR_BYTES, 1e6, " MB"),
        Result("matching over the plain loop", f"{found['over_loop']:,.0f}x, same matches", "-", None),
    ]


def _ratio_result(what: str, ratios: Sequence[float]) -> Result:
    middle = statistics.median(ratios)
    value = f"{middle:.2f}x (of {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f})"
    return Result(what, value, f">= {RATIO_FLOOR}x", middle >= RATIO_FLOOR)


def _above(what: str, values: Sequence[float], floor: float) -> Result:
    middle = statistics.median(values)
    value = f"{middle:,.0f} (of {len(values)}: {min(values):,.0f} to {max(values):,.0f})"
    return Result(what, value, f"> {floor:,.0f}", middle > floor)


def _below(what: str, value: float, floor: float, unit: float, name: str) -> Result:
    return Result(what, f"{value / unit:.3g}{name}", f"< {floor / unit:g}{name}", value < floor)


def compare(data: Path) -> dict[str, Any]:
    """Build, match and scan; raises RuntimeError when the sides do not find the same."""
    captions, entries = read_captions(data), read_entries(data)
    Matcher(["warm"], "exact").match(["up"])
    before = _resident_bytes()
    started = time.perf_counter()
    matcher = Matcher(entries, "exact")
    build_s = time.perf_counter() - started
    index_bytes = _resident_bytes() - before
    offsets, matches = matcher.match(captions)
    all_bytes = _resident_bytes() - before

    spaced = [_spaced(caption) for caption in captions]
    padded = [f" {entry} " for entry in entries]
    libraries = {"pyahocorasick": _pyahocorasick(padded), "ahocorasick_rs": _ahocorasick_rs(padded)}
    for name, scan in libraries.items():
        if sum(len(set(hits)) for hits in scan(spaced)) != len(matches):
            raise RuntimeError(f"{name} does not find {len(matches)} matches")
    ours_s, ratios = [], {name: [] for name in libraries}  # type: ignore[var-annotated]
    for _ in range(ROUNDS):
        ours_s.append(_seconds(lambda: matcher.match(captions)))
        for name, scan in libraries.items():
            ratios[name].append(_seconds(lambda scan=scan: [None for _ in scan(spaced)]) / ours_s[-1])  # type: ignore[misc]
    chosen = range(0, len(captions), len(captions) // NUM_NAIVE)[:NUM_NAIVE]
    return {
        "build_s": build_s,
        "index_bytes": index_bytes,
        "all_bytes": all_bytes,
        "captions_per_s": [len(captions) / seconds for seconds in ours_s],
        "ratios": ratios,
        "over_loop": _loop_s(chosen, spaced, padded, offsets, matches) / (statistics.median(ours_s) / len(captions)),
    }


def _loop_s(
    chosen: Sequence[int], spaced: Sequence[str], padded: Sequence[str], offsets: np.ndarray, matches: np.ndarray
) -> float:
    """Return the loop's seconds a caption."""
    started = time.perf_counter()
    found = [[place for place, entry in enumerate(padded) if entry in spaced[index]] for index in chosen]
    seconds = (time.perf_counter() - started) / len(chosen)
    for index, places in zip(chosen, found, strict=True):
        if matches[offsets[index] : offsets[index + 1]].tolist() != places:
            raise RuntimeError(f"the loop and Matcher do not find the same in caption {index}")
    return seconds


def _spaced(caption: str) -> str:
    text = f" {caption} "
    for mark in MARKS:
        text = text.replace(mark, f" {mark} ")
    return text.replace("\t", " ").replace("\n", " ").replace("\r", " ")


def _pyahocorasick(padded: Sequence[str]) -> Callable[[Sequence[str]], Any]:
    import ahocorasick

    automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
    for place, entry in enumerate(padded):
        automaton.add_word(entry, place)
    automaton.make_automaton()
    return lambda texts: ([place for _, place in automaton.iter(text)] for text in texts)


def _ahocorasick_rs(padded: Sequence[str]) -> Callable[[Sequence[str]], Any]:
    from ahocorasick_rs import AhoCorasick, Implementation

    automaton = AhoCorasick(padded, store_patterns=False, implementation=Implementation.ContiguousNFA)
    find = automaton.find_matches_as_indexes
    return lambda texts: ([place for place, _, _ in find(text, overlapping=True)] for text in texts)


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(compare(Path(sys.argv[1]))), flush=True)
