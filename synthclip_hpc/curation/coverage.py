"""How much of a concept bank a set of captions covers, and how evenly: the paper's Table 5 and a few figures beside it.

A concept's count is the number of captions that match it. All figures follow from the counts and from a tally of the
captions' texts, whatever order the captions came in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from sharding.ids import item_id

SCHEMA = 1
"""Of the JSON of one set."""
SEEN_TIMES = (1, 25, 50)
"""Table 5's columns: concepts seen so often or more."""
MEAN_FROM = 25
"""Table 5's last column is the mean count of the concepts that are seen so often or more."""
LONG_TAIL = (
    "amber",
    "chicks",
    "crystal",
    "crystal ball",
    "loincloth",
    "rose",
    "sandcastles",
    "sundress",
    "veggies",
    "x-ray",
)
"""The ten classes of the paper's long-tail experiment, said to be in the bank but not in CC12M's captions."""
_LISTED = 20
_PENDING = 1 << 22
"""Hashes that wait to be merged with those already known to differ."""


@dataclass(frozen=True)
class CountBin:
    """So many concepts have a count from `first` to `last`."""

    first: int
    last: int
    concepts: int


@dataclass(frozen=True)
class Coverage:
    """The figures of one set of captions."""

    captions: int
    unmatched: int
    """Captions without any match."""
    distinct: int
    """Different texts among the captions; of a run's raw captions, among those that name a concept or are kept without:
    the texts of the others are never compared."""
    concepts: int
    """Entries of the bank."""
    matches: int
    """The sum of all counts; a caption that matches a concept counts once for it."""
    seen: dict[int, int]
    """Times -> concepts seen so often or more, for 1, 25 and 50."""
    mean_count: float
    """Mean count of the concepts seen 25 times or more; 0 if there is none."""
    entropy_bits: float
    """Of the distribution of matches over concepts; log2(n) when n concepts share them evenly."""
    effective_concepts: float
    """2 to the entropy: so many evenly used concepts have the same entropy; 0 without any match."""
    count_histogram: tuple[CountBin, ...]
    """Count 0, 1, 2-3, 4-7, 8-15 and so on, to the bin of the largest count."""
    most_frequent: tuple[tuple[str, int], ...]
    """The first 20, with counts; equal counts in the order of the bank."""
    least_frequent: tuple[tuple[str, int], ...]
    """The 20 rarest that are seen at all, rarest first, equal counts in the order of the bank."""
    long_tail: dict[str, int | None]
    """Counts of the ten classes of the paper's long-tail experiment; None: no entry of the bank."""
    words_histogram: dict[int, int]
    """Words in a caption (split at white space) -> captions."""

    @property
    def mean_words(self) -> float:
        """Mean number of words of a caption; 0 without captions."""
        return sum(words * number for words, number in self.words_histogram.items()) / max(1, self.captions)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as strict JSON, schema 1; tables with numbers as keys become lists of objects."""
        return {
            "schema": SCHEMA,
            **asdict(self),
            "seen": [{"times": times, "concepts": number} for times, number in self.seen.items()],
            "most_frequent": [{"concept": concept, "count": count} for concept, count in self.most_frequent],
            "least_frequent": [{"concept": concept, "count": count} for concept, count in self.least_frequent],
            "words_histogram": [{"words": words, "captions": n} for words, n in self.words_histogram.items()],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made of. Raises KeyError, TypeError or ValueError for anything else."""
        if value["schema"] != SCHEMA:
            raise ValueError(f"coverage of schema {value['schema']}, this version reads {SCHEMA}")
        tables: dict[str, Any] = {
            "seen": {one["times"]: one["concepts"] for one in value["seen"]},
            "count_histogram": tuple(CountBin(**one) for one in value["count_histogram"]),
            "most_frequent": tuple((one["concept"], one["count"]) for one in value["most_frequent"]),
            "least_frequent": tuple((one["concept"], one["count"]) for one in value["least_frequent"]),
            "long_tail": {concept: value["long_tail"][concept] for concept in LONG_TAIL},
            "words_histogram": {one["words"]: one["captions"] for one in value["words_histogram"]},
        }
        return cls(**{one.name: tables.get(one.name, value[one.name]) for one in fields(cls)})


class CoverageTally:
    """Adds up what coverage needs, a chunk of captions at a time.

    Memory: 8 bytes a concept, and 8 bytes a distinct caption (24 at the end) to count distinct texts by their 64-bit
    hash, which at 30 million captions misses one with a chance of about 2.4e-5. With `all_distinct` none is kept: the
    caller vouches that no text comes twice, or tells `coverage` how many there are.
    """

    def __init__(self, num_concepts: int, *, all_distinct: bool = False) -> None:
        self.counts = np.zeros(num_concepts, np.int64)
        """Captions that match each concept, int64 (concepts,)."""
        self._all_distinct = all_distinct
        self._captions = 0
        self._unmatched = 0
        self._words = np.zeros(0, np.int64)
        self._hashes: list[np.ndarray] = []

    def add(self, captions: Sequence[str], offsets: np.ndarray, entries: np.ndarray) -> None:
        """Count captions; caption i matches the concepts `entries[offsets[i]:offsets[i + 1]]`, each once."""
        if len(offsets) != len(captions) + 1:
            raise ValueError(f"{len(captions)} captions need {len(captions) + 1} offsets, got {len(offsets)}")
        self.counts += np.bincount(entries[offsets[0] : offsets[-1]], minlength=len(self.counts))
        self._captions += len(captions)
        self._unmatched += int(np.count_nonzero(np.diff(offsets) == 0))
        words = np.bincount(np.array([len(caption.split()) for caption in captions], np.int64))
        longer, shorter = (words, self._words) if len(words) > len(self._words) else (self._words, words)
        self._words = longer.copy()
        self._words[: len(shorter)] += shorter
        if not self._all_distinct:
            hashes = np.array([item_id("caption", caption) for caption in captions], np.uint64)
            self._hashes.append(np.unique(hashes))
            if sum(len(part) for part in self._hashes[1:]) > _PENDING:
                self._hashes = [np.unique(np.concatenate(self._hashes))]

    @property
    def captions(self) -> int:
        """Captions added so far."""
        return self._captions

    @property
    def unmatched(self) -> int:
        """Those among them that match no concept."""
        return self._unmatched

    def coverage(self, concepts: Sequence[str], distinct: int | None = None) -> Coverage:
        """Return the figures of what was added; `concepts` is the bank whose places the entries are.

        `distinct`: how many different texts there are, where the caller knows.
        """
        if distinct is None and self._all_distinct:
            distinct = self._captions
        elif distinct is None:
            distinct = len(np.unique(np.concatenate([np.zeros(0, np.uint64), *self._hashes])))
        words = {int(length): int(self._words[length]) for length in np.flatnonzero(self._words)}
        return measure_coverage(concepts, self.counts, self._captions, self._unmatched, distinct, words)


def measure_coverage(
    concepts: Sequence[str],
    counts: np.ndarray,
    captions: int,
    unmatched: int,
    distinct: int,
    words_histogram: dict[int, int],
) -> Coverage:
    """Return the figures that follow from `counts`, whole numbers (concepts,), beside those of the captions' texts.

    Raises ValueError when counts and concepts differ in number, and for counts below 0.
    """
    counts = np.asarray(counts, np.int64)
    if len(counts) != len(concepts):
        raise ValueError(f"{len(concepts)} concepts need as many counts, got {len(counts)}")
    if len(counts) and counts.min() < 0:
        raise ValueError("counts must be 0 or more")
    often = counts[counts >= MEAN_FROM]
    entropy = entropy_bits(counts)
    by_count = np.argsort(-counts, kind="stable")
    rarest_first = np.argsort(counts, kind="stable")[np.count_nonzero(counts == 0) :]
    found = {concept: int(counts[place]) for place, concept in enumerate(concepts) if concept in LONG_TAIL}
    return Coverage(
        captions=captions,
        unmatched=unmatched,
        distinct=distinct,
        concepts=len(concepts),
        matches=int(counts.sum()),
        seen={times: int(np.count_nonzero(counts >= times)) for times in SEEN_TIMES},
        mean_count=int(often.sum()) / len(often) if len(often) else 0.0,
        entropy_bits=entropy,
        effective_concepts=2.0**entropy if counts.any() else 0.0,
        count_histogram=count_histogram(counts),
        most_frequent=tuple((concepts[place], int(counts[place])) for place in by_count[:_LISTED] if counts[place]),
        least_frequent=tuple((concepts[place], int(counts[place])) for place in rarest_first[:_LISTED]),
        long_tail={concept: found.get(concept) for concept in LONG_TAIL},
        words_histogram=words_histogram,
    )


def entropy_bits(counts: np.ndarray) -> float:
    """Return the entropy of the distribution n_e / sum(n), in bits; 0 when all counts are 0."""
    total = int(counts.sum())
    values, numbers = np.unique(counts[counts > 0], return_counts=True)
    # An exact sum over the few different counts: the last digit does not depend on how arrays are added up.
    shares = ((int(value) / total, int(number)) for value, number in zip(values, numbers, strict=True))
    return math.fsum(number * share * -math.log2(share) for share, number in shares)


def count_histogram(counts: np.ndarray) -> tuple[CountBin, ...]:
    """Return how many of `counts` (whole numbers) are 0, 1, 2-3, 4-7 and so on; the last bin holds the largest."""
    # The exponent of frexp is the number of binary digits, exact for counts below 2^53.
    numbers = np.bincount(np.frexp(counts.astype(np.float64))[1], minlength=1)
    return tuple(CountBin((1 << digits) >> 1, (1 << digits) - 1, int(n)) for digits, n in enumerate(numbers))


def coverage_table(sets: Mapping[str, Coverage]) -> str:
    """Return the main figures as plain text: a row a figure, a column a set, such as `before` and `after`."""
    each = list(sets.values())
    rows = [
        ["", *sets],
        ["captions", *(f"{one.captions:,}" for one in each)],
        ["distinct captions", *(f"{one.distinct:,}" for one in each)],
        ["captions without a match", *(f"{one.unmatched:,}" for one in each)],
        ["words a caption", *(f"{one.mean_words:.1f}" for one in each)],
        ["matches", *(f"{one.matches:,}" for one in each)],
        ["concepts in the bank", *(f"{one.concepts:,}" for one in each)],
        *([f"seen {times}+ times", *(f"{one.seen[times]:,}" for one in each)] for times in SEEN_TIMES),
        [f"mean count of those seen {MEAN_FROM}+ times", *(f"{one.mean_count:,.0f}" for one in each)],
        ["entropy over concepts (bits)", *(f"{one.entropy_bits:.2f}" for one in each)],
        ["effective number of concepts", *(f"{one.effective_concepts:,.0f}" for one in each)],
    ]
    for concept in LONG_TAIL:
        counts = [one.long_tail[concept] for one in each]
        rows.append([f"long tail: {concept}", *("not in bank" if n is None else f"{n:,}" for n in counts)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "".join(f"{'  '.join(line).rstrip()}\n" for line in lines)
