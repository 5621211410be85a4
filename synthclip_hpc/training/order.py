"""Which samples each batch consists of: a pure function of seed, settings and step.

It knows neither ranks nor processes. Whoever makes places `start` to `stop - 1` of a batch asks for just these, so any
number of ranks and of loader processes puts the same batches together, from any step on.

    source -> tars -> chunks, shuffled -> groups of chunks, samples shuffled -> the epoch's sequence -> lanes -> batches

A lane is a run of the sequence: with C lanes a batch takes its first part from the first C-th of the epoch, the next
part from the second C-th, and so on. A rank's share of all batches then comes from few lanes, each of which it goes
through from its beginning to its end, so that it reads few chunks, each of them once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthclip_hpc.errors import UserError
from synthclip_hpc.training.chunks import Chunks, Numbers, SourceShards
from synthclip_hpc.training.mixing import Labels, Mix, check_mix, parse_mix
from synthclip_hpc.training.permuted import Permuted

__all__ = ["Mix", "Numbers", "SampleOrder", "SourceShards", "parse_mix"]

SPARES = 64
"""Samples that may stand in for a broken one."""


class SampleOrder:
    """Sample numbers (rows of the data set's index) by step and place in the batch; steps count on over all epochs.

    An epoch has `num_samples` places: each sample once or, with a mix, what each source gives. Of these the first
    `steps_per_epoch * batch_size` are used; which samples are left out changes from epoch to epoch. Memory: about
    50 bytes a chunk (12 MB for 30 million samples), and some groups. Safe for several threads.
    """

    def __init__(
        self,
        seed: int,
        shards: Sequence[SourceShards],
        *,
        batch_size: int,
        chunk_samples: int,
        group_chunks: int,
        lanes: int,
        mix: Sequence[Mix] = (),
    ) -> None:
        """Raise UserError for a mix that does not fit the sources, and where there is not one whole batch."""
        self._shards = sorted((one for one in shards if one.num_samples), key=lambda one: one.first)
        self._by_name = {source.name: source for source in self._shards}
        check_mix(mix, shards)
        self.num_samples = sum(one.num_samples for one in (mix or self._shards))
        self.batch_size = batch_size
        self.steps_per_epoch = self.num_samples // batch_size
        if not self.steps_per_epoch:
            raise UserError(
                f"train.batch_size={batch_size}: an epoch has {self.num_samples} samples, so not one whole batch; "
                f"make it {self.num_samples} at most in a new run, or train on more data"
            )
        self.lanes = next(n for n in range(min(lanes, batch_size), 0, -1) if batch_size % n == 0)
        self.group_samples = chunk_samples * group_chunks
        self.chunks = Chunks(self._shards, chunk_samples)
        self._mix = tuple(mix)
        keep = max(64, 4 * self.lanes)
        # Without a mix all sources are one: "*", which is no name of a folder.
        chunked = [(one.name, Chunks([self._by_name[one.name]], chunk_samples)) for one in mix] or [("*", self.chunks)]
        self._sequences = [
            Permuted(seed, name, chunks, group_chunks=group_chunks, keep_groups=keep) for name, chunks in chunked
        ]
        self._labels = Labels(seed, [one.num_samples for one in mix], keep_blocks=keep) if mix else None

    def batch(self, step: int) -> Numbers:
        """Return the samples of a whole batch, int64 [batch_size]."""
        return self.part(step, 0, self.batch_size)

    def part(self, step: int, start: int, stop: int) -> Numbers:
        """Return the samples at places `start` to `stop - 1` of the batch of a step (from 0 on), int64 [stop - start].

        Raises IndexError for a place outside the batch.
        """
        if not 0 <= start <= stop <= self.batch_size:
            raise IndexError(f"places {start} to {stop} of a batch of {self.batch_size}")
        parts = []
        while start < stop:
            epoch, place = self._place(step, start)
            end = min(stop, (start // self._lane_share + 1) * self._lane_share)
            parts.append(self._take(epoch, place, place + end - start))
            start = end
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def spares(self, step: int, place: int) -> Numbers:
        """Return what may stand in for the sample at a place of a batch, the next first: int64 [64 at most].

        They are what follows it in its group of chunks, and from the group's beginning on.
        """
        epoch, in_epoch = self._place(step, place)
        label, at = 0, epoch * self.num_samples + in_epoch
        if self._labels is not None:
            ((labels, spans),) = self._labels.spans(epoch, in_epoch, in_epoch + 1)
            label = int(labels[0])
            at = epoch * self._mix[label].num_samples + spans[label][0]
        group, inside = self._sequences[label].group_of(at)
        return np.roll(group, -inside)[1 : SPARES + 1]

    def steps_in_group(self, *, rarest: bool = False) -> int:
        """Return for how many steps a lane takes samples of one group of chunks, at most.

        With a mix: of all sources together or, with `rarest`, of the source that comes up least often; a look so far
        ahead costs memory for its numbers, so it ends at 2^18 samples of a batch's.
        """
        steps = -(-self.group_samples // self._lane_share) + 1
        if not (rarest and self._mix):
            return steps
        longest = steps * self.num_samples // min(one.num_samples for one in self._mix)
        return max(steps, min(longest, (1 << 18) // self.batch_size))

    @property
    def _lane_share(self) -> int:
        return self.batch_size // self.lanes

    def _place(self, step: int, place: int) -> tuple[int, int]:
        """Return the epoch, and the place in its sequence, of a place in the batch of a step."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        lane, inside = divmod(place, self._lane_share)
        return epoch, (lane * self.steps_per_epoch + batch) * self._lane_share + inside

    def _take(self, epoch: int, start: int, stop: int) -> Numbers:
        """Return what stands at places of an epoch's sequence."""
        if self._labels is None:
            behind = epoch * self.num_samples
            return self._sequences[0].take(behind + start, behind + stop)
        found = np.empty(stop - start, np.int64)
        done = 0
        for labels, spans in self._labels.spans(epoch, start, stop):
            into = found[done : done + len(labels)]
            for label, (first, last) in enumerate(spans):
                if first < last:
                    behind = epoch * self._mix[label].num_samples
                    into[labels == label] = self._sequences[label].take(behind + first, behind + last)
            done += len(labels)
        return found
