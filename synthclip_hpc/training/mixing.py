"""`train.mix`: how many samples each source gives an epoch, and which source stands at which place of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sharding.ids import derive
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.training.chunks import Numbers, SourceShards
from synthclip_hpc.training.permuted import permutation

_BLOCK = 4096
_VALID = "source:samples of each source to take, with a comma between them, e.g. render:11200000,cc12m:8800000"


@dataclass(frozen=True)
class Mix:
    """What one source gives."""

    name: str
    num_samples: int
    """In an epoch; more than the source has means that some come more than once."""


def parse_mix(text: str, sources: Sequence[SourceShards]) -> list[Mix]:
    """Read `train.mix`. Raises UserError for what is no such list, and as `check_mix` does."""
    mix = read_mix(text, [source.name for source in sources])
    check_mix(mix, sources)
    return mix


def read_mix(text: str, names: Sequence[str]) -> list[Mix]:
    """Read `train.mix` where only the names of the sources are known. Raises UserError for what is no such list."""
    mix = []
    for part in text.split(","):
        name, _, count = part.strip().rpartition(":")
        if not name or not (count.isascii() and count.isdigit()):
            raise UserError(f"train.mix={part.strip()}: no source with a number of samples. Valid: {_VALID}")
        mix.append(Mix(name, int(count)))
    _check_names(mix, names)
    return mix


def check_mix(mix: Sequence[Mix], sources: Sequence[SourceShards]) -> None:
    """Raise UserError for a source that is not there, is empty or stands twice, and for a number below 1."""
    sizes = {source.name: source.num_samples for source in sources}
    _check_names(mix, list(sizes))
    for one in mix:
        if not sizes[one.name]:
            raise UserError(f"train.mix={one.name}:{one.num_samples}: this source has no samples; leave it out")


def _check_names(mix: Sequence[Mix], names: Sequence[str]) -> None:
    seen: set[str] = set()
    for one in mix:
        what = f"train.mix={one.name}:{one.num_samples}"
        if one.name not in names:
            near = nearest(one.name, names)
            raise UserError(f"{what}: the data set has no such source{near}. It has: {', '.join(names)}")
        if one.name in seen:
            raise UserError(f"{what}: {one.name} stands twice; add its numbers up")
        if one.num_samples < 1:
            raise UserError(f"{what}: a source gives 1 sample at least; leave {one.name} out to take none of it")
        seen.add(one.name)


class Labels:
    """Which source stands at each place of an epoch, exactly and evenly mixed.

    An epoch is cut into blocks of some thousand places. Each has of every source its part, rounded such that the sums
    up to there are right, and of the largest source the rest; within a block the order is random.
    """

    def __init__(self, seed: int, counts: Sequence[int], *, keep_blocks: int) -> None:
        """`counts`: samples of each source in an epoch; the last `keep_blocks` blocks stay in memory."""
        self._seed, self._counts = seed, np.asarray(counts, np.int64)
        self._num_places = int(self._counts.sum())
        # In a block of m * m places of m sources the rounding of all others leaves the largest one its place.
        self._size = max(_BLOCK, len(counts) ** 2)
        # The last block takes what is left over: none is shorter than the others.
        self._num_blocks = max(1, self._num_places // self._size)
        self._block = lru_cache(keep_blocks)(self._make_block)

    def spans(self, epoch: int, start: int, stop: int) -> list[tuple[Numbers, list[tuple[int, int]]]]:
        """Return block by block which samples stand at places `start` to `stop - 1` of an epoch.

        Each as (labels [n], for each source (first, behind the last) of its places in what it gives this epoch).
        """
        found = []
        while start < stop:
            number = min(start // self._size, self._num_blocks - 1)
            end = min(stop, self._edge(number + 1))
            labels, before = self._block(epoch, number)
            offset = start - number * self._size
            part = labels[offset : offset + end - start]
            ahead = np.bincount(labels[:offset], minlength=len(self._counts)) + before
            here = np.bincount(part, minlength=len(self._counts))
            found.append((part, [(int(a), int(a + n)) for a, n in zip(ahead, here, strict=True)]))
            start = end
        return found

    def _edge(self, block: int) -> int:
        return self._num_places if block >= self._num_blocks else block * self._size

    def _up_to(self, block: int) -> Numbers:
        """Return how many places of each source stand before a block."""
        edge = self._edge(block)
        # Python's integers: places times samples may pass 2^63.
        found = np.array([(2 * int(n) * edge + self._num_places) // (2 * self._num_places) for n in self._counts])
        largest = int(np.argmax(self._counts))
        found[largest] += edge - found.sum()
        return found.astype(np.int64)

    def _make_block(self, epoch: int, number: int) -> tuple[Numbers, Numbers]:
        before = self._up_to(number)
        labels = np.repeat(np.arange(len(self._counts)), self._up_to(number + 1) - before)
        seed = derive(derive(self._seed, epoch, "order/labels"), number, "order/block")
        return labels[permutation(seed, len(labels))], before
