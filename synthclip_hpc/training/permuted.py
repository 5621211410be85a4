"""The endless, shuffled sequence of the samples of one source: pass after pass over it, each in an order of its own.

In each pass the chunks are shuffled, then taken some at a time as groups; the samples of a group are shuffled. So what
stands together in the sequence lies in few chunks, and only the groups that are asked for are ever written down.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sharding.ids import derive
from synthclip_hpc.training.chunks import Chunks, Numbers

_PASSES = 4
"""Kept at a time: a reader that looks ahead is in two at most."""


def permutation(seed: int, length: int) -> Numbers:
    """Return the numbers below `length` in an order that follows from the seed, as int64 [length].

    numpy promises that the bits of PCG64 stay what they are from version to version, and promises it of no method of
    its Generator: hence a sort by random bits. A test has the expected values, so that any change shows.
    """
    return np.argsort(np.random.PCG64(seed).random_raw(length), kind="stable").astype(np.int64)


class Permuted:
    """Sample numbers by their place in the sequence; pure, so every process finds the same ones."""

    def __init__(self, seed: int, name: str, chunks: Chunks, *, group_chunks: int, keep_groups: int) -> None:
        """`name` tells the orders of several sources apart; the last `keep_groups` groups stay in memory."""
        self.num_samples = int(chunks.sizes.sum())
        self._seed, self._name, self._chunks, self._group_chunks = seed, name, chunks, group_chunks
        self._pass = lru_cache(_PASSES)(self._make_pass)
        self._group = lru_cache(keep_groups)(self._make_group)

    def take(self, start: int, stop: int) -> Numbers:
        """Return the samples at places `start` to `stop - 1`, int64 [stop - start]; place 0 opens the first pass."""
        parts = []
        while start < stop:
            group, inside = self.group_of(start)
            part = group[inside : inside + stop - start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def group_of(self, place: int) -> tuple[Numbers, int]:
        """Return the group that a place of the sequence is in (in its order; not to be changed) and the place in it."""
        number, inside = divmod(place, self.num_samples)
        _, group_starts = self._pass(number)
        group = int(np.searchsorted(group_starts, inside, side="right")) - 1
        return self._group(number, group), inside - int(group_starts[group])

    def _make_pass(self, number: int) -> tuple[Numbers, Numbers]:
        """Return the order of the chunks in a pass, and the place in it where each group begins."""
        seed = derive(self._seed, number, f"order/{self._name}/chunks")
        order = permutation(seed, len(self._chunks.starts))
        sizes = np.add.reduceat(self._chunks.sizes[order], np.arange(0, len(order), self._group_chunks))
        return order, np.cumsum(sizes) - sizes

    def _make_group(self, number: int, group: int) -> Numbers:
        chunks = self._pass(number)[0][group * self._group_chunks : (group + 1) * self._group_chunks]
        starts, sizes = self._chunks.starts[chunks], self._chunks.sizes[chunks]
        samples = np.concatenate([np.arange(a, a + n, dtype=np.int64) for a, n in zip(starts, sizes, strict=True)])
        seed = derive(derive(self._seed, number, f"order/{self._name}/groups"), group, "order/samples")
        return samples[permutation(seed, len(samples))]
