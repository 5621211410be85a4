"""What tests of curation share: real captions, and a plain matcher that owes nothing to the application's."""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sharding.ids import derive, item_id
from synthclip_hpc.curation.thresholds import uniform_numbers
from tests.data import data_folder


@dataclass(frozen=True)
class MatchedCaptions:
    """Captions, the bank, and who matches what; `ids` uint64 and `uniform` float64 as a run with seed 0 has them."""

    texts: list[str]
    bank: list[str]
    offsets: np.ndarray
    entries: np.ndarray
    counts: np.ndarray
    ids: np.ndarray
    uniform: np.ndarray


def match_by_windows(texts: Sequence[str], bank: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """MetaCLIP's rule as a look-up of every run of words, words being what stands between single spaces."""
    places = {entry: place for place, entry in enumerate(bank)}
    longest: dict[str, int] = {}  # words of the longest entry that begins with this word
    for entry in bank:
        first, *more = entry.split(" ")
        longest[first] = max(longest.get(first, 0), 1 + len(more))
    lengths, found = [0], []
    for text in texts:
        words = re.sub(r"[\t\n\r]", " ", re.sub(r"([,.;:?!`])", r" \1 ", f" {text} "))[1:-1].split(" ")
        runs = (
            " ".join(words[start:end])
            for start, word in enumerate(words)
            for end in range(start + 1, min(start + longest.get(word, 0), len(words)) + 1)
        )
        matched = sorted({places[run] for run in runs if run in places})
        lengths.append(len(matched))
        found.extend(matched)
    return np.cumsum(lengths), np.array(found, np.uint32)


def real_captions() -> MatchedCaptions:
    """176,015 captions matched with 500,000 entries; skips where that data is not at hand."""
    folder = data_folder()
    needed = (folder / "captions-real" / "captions.tsv.zst", folder / "concept-bank-free500k" / "bank.tsv.zst")
    for path in needed:
        if not path.exists():
            pytest.skip(f"{path} is not there; SYNTHCLIP_TEST_DATA names the folder that holds captions-real")
    return _matched(*needed)


@functools.cache
def _matched(captions: Path, bank_file: Path) -> MatchedCaptions:
    texts = _column(captions, 3)
    bank = _column(bank_file, 0)
    offsets, entries = match_by_windows(texts, bank)
    ids = [item_id("caption", place) for place in range(len(texts))]  # some texts come twice
    return MatchedCaptions(
        texts,
        bank,
        offsets,
        entries,
        np.bincount(entries, minlength=len(bank)),
        np.array(ids, np.uint64),
        uniform_numbers(np.array([derive(0, caption_id, "balance") for caption_id in ids], np.uint64)),
    )


def _column(path: Path, place: int) -> list[str]:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        text = io.StringIO(stream.read().decode("utf-8"), newline="\n")
    return [row[place] for row in csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)]
