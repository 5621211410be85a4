"""Chunks: neighbouring samples of one tar, which are read at once.

Sources, tars and chunks follow one another as the samples do in the data set's index, so a chunk is two sample numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


class SourceShards(NamedTuple):
    """What the order needs to know of one source of the data set."""

    name: str
    first: int
    """Number of its first sample in the data set's index; its others follow without a gap."""
    sizes: Numbers
    """Samples of each of its tars, in the order of the index; shape [tars]."""

    @property
    def num_samples(self) -> int:
        """Samples of all its tars."""
        return int(self.sizes.sum())


class Chunks:
    """The tars of some sources cut into chunks: chunk i is samples `starts[i]` to `starts[i] + sizes[i] - 1`."""

    def __init__(self, shards: Sequence[SourceShards], chunk_samples: int) -> None:
        """Cut each tar from its beginning on; the last chunk of a tar may be shorter. Memory: 16 bytes a chunk."""
        parts = [_cut(source, chunk_samples) for source in sorted(shards, key=lambda one: one.first)]
        self.starts: Numbers = np.concatenate([starts for starts, _ in parts])
        self.sizes: Numbers = np.concatenate([sizes for _, sizes in parts])

    def around(self, number: int) -> tuple[int, int]:
        """Return the first sample number of the chunk that a sample is in, and the first one behind the chunk."""
        place = int(np.searchsorted(self.starts, number, side="right")) - 1
        start = int(self.starts[place])
        return start, start + int(self.sizes[place])


def _cut(source: SourceShards, chunk_samples: int) -> tuple[Numbers, Numbers]:
    sizes = np.asarray(source.sizes, np.int64)
    stops = source.first + np.cumsum(sizes)
    counts = -(-sizes // chunk_samples)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    inside = np.arange(int(counts.sum()), dtype=np.int64) - before
    starts = np.repeat(stops - sizes, counts) + inside * chunk_samples
    return starts, np.minimum(chunk_samples, np.repeat(stops, counts) - starts)
