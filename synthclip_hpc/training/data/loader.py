"""The batches of one rank, step by step, ready before they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise, repeat
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from synthclip_hpc.errors import UserError
from synthclip_hpc.training.chunks import Numbers
from synthclip_hpc.training.data.ahead import Ahead
from synthclip_hpc.training.data.decoding import preload
from synthclip_hpc.training.data.reading import SampleReader, read_parts
from synthclip_hpc.training.data.samples import Broken, Preparing, Recipe
from synthclip_hpc.training.data.shared_batches import SharedBatches
from synthclip_hpc.training.data.tokens import Tokenizing
from synthclip_hpc.training.data.training_data import TrainingData
from synthclip_hpc.training.data.workers import Workers
from synthclip_hpc.training.order import SampleOrder

_POLL_S = 0.2


class Batch(NamedTuple):
    """A rank's share of the batch of one step."""

    step: int
    images: Any
    """torch.uint8 [n, 3, size, size], RGB."""
    tokens: Any
    """torch.int64 [n, context length]."""
    broken: list[Broken]
    """Samples that others stand in for."""


@dataclass(frozen=True)
class _Share:
    """Places `start` to `stop - 1` of each batch of some steps: what one process makes."""

    data: TrainingData
    order: SampleOrder
    recipe: Recipe
    tokenizing: Tokenizing
    steps: range
    start: int
    stop: int

    def fill(self, memory: Callable[[int], tuple[Any, Any]], may_fill: Iterator[None]) -> Iterator[list[Broken]]:
        """Fill the rows of step after step; yield what was broken. A thread reads ahead as much as one group."""
        order = self.order

        def parts() -> Iterator[Numbers]:
            return (order.part(step, self.start, self.stop) for step in self.steps)

        with (
            closing(SampleReader(self.data.reopened())) as reader,
            closing(Preparing(self.data, order, self.recipe, self.tokenizing)) as preparing,
            closing(
                Ahead(
                    lambda: read_parts(reader, order.chunks, parts(), order.steps_in_group(rarest=True)),
                    order.steps_in_group(),
                    "loader reading",
                )
            ) as read,
        ):
            for step, samples in zip(self.steps, read, strict=True):
                next(may_fill)
                yield preparing.fill(step, self.start, samples, *memory(step))


class Loader:
    """Use `open_loader`. Close it, or use it as a context manager; for one thread."""

    def __init__(self, batches: Callable[[Callable[[], bool]], Iterator[Batch]], limit: int, pids: list[int]) -> None:
        self.pids = pids
        """Of the loader processes."""
        self._closed = False
        self._ahead = Ahead(lambda: batches(lambda: self._closed), limit, "loader")

    def next_batch(self, poll: Callable[[], bool] = lambda: False) -> Batch | None:
        """Return the batch of the next step; None behind the last one, and as soon as `poll` says stop.

        `poll` is asked before, and each 0.2 s of waiting; after a None of its making the batch is still to be had.
        Raises UserError for data that is damaged or gone, LoaderDied naming a loader process that was killed.
        """
        while not poll():
            if self._ahead.wait(_POLL_S):
                try:
                    return self._ahead.take()
                except StopIteration:
                    return None
        return None

    def __iter__(self) -> Iterator[Batch]:
        while (batch := self.next_batch()) is not None:
            yield batch

    def close(self) -> None:
        """End all processes and threads."""
        self._closed = True
        self._ahead.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_loader(
    data: TrainingData,
    order: SampleOrder,
    *,
    first_step: int,
    last_step: int,
    rank: int,
    world_size: int,
    image_size: int,
    tokenizer: Any,
    crop_min: float,
    interpolation: str,
    color_jitter: float,
    seed: int,
    workers: int,
    prefetch_batches: int,
    pin_memory: bool,
) -> Loader:
    """Start making a rank's batches of steps `first_step` to `last_step - 1`, counted over all epochs.

    A batch has `batch_size / world_size` samples: places from `rank` times as many on. Each of the `workers` processes
    makes an equal part of every batch and is `prefetch_batches` ahead; with 0 a thread does it all. `tokenizer` is what
    `open_clip.get_tokenizer` returns. Call it in the thread that outlives the loader (the main one): the processes end
    with it. Raises UserError for a batch that the ranks cannot share equally.
    """
    rows, left = divmod(order.batch_size, world_size)
    if left:
        raise UserError(
            f"train.batch_size={order.batch_size}: {world_size} ranks cannot share it equally; use a multiple of "
            f"{world_size}, or another number of ranks (train.processes_per_node, slurm.nodes)"
        )
    tokenizing = Tokenizing(tokenizer)
    recipe = Recipe(image_size, crop_min, interpolation, color_jitter, seed)
    steps = range(first_step, last_step)

    def share(start: int, stop: int) -> _Share:
        return _Share(data, order, recipe, tokenizing, steps, rank * rows + start, rank * rows + stop)

    preload()
    device = _cuda_device() if pin_memory else None
    if not workers:
        whole = share(0, rows)
        return Loader(lambda stopped: _made_here(whole, device), max(1, prefetch_batches), [])
    workers = min(workers, rows)
    shared = SharedBatches(max(2, prefetch_batches + 1), rows, image_size, tokenizing.context_length)
    edges = [worker * rows // workers for worker in range(workers + 1)]
    pool = Workers([_filling(share(a, b), shared, a, b) for a, b in pairwise(edges)], shared.num_slots)
    return Loader(lambda stopped: _collected(pool, shared, steps, device, stopped), 1, pool.pids)


def _filling(share: _Share, shared: SharedBatches, start: int, stop: int) -> Callable[[Iterator[None]], Iterator[Any]]:
    def memory(step: int) -> tuple[Any, Any]:
        images, tokens = shared.of(step)
        return images[start:stop], tokens[start:stop]

    return lambda may_fill: share.fill(memory, may_fill)


def _made_here(share: _Share, device: int | None) -> Iterator[Batch]:
    rows, size = share.stop - share.start, share.recipe.image_size
    images = np.empty((rows, 3, size, size), np.uint8)
    tokens = np.empty((rows, share.tokenizing.context_length), np.int64)
    for step, broken in zip(share.steps, share.fill(lambda step: (images, tokens), repeat(None)), strict=True):
        yield Batch(step, _tensor(images, device), _tensor(tokens, device), broken)


def _collected(
    pool: Workers, shared: SharedBatches, steps: range, device: int | None, stopped: Callable[[], bool]
) -> Iterator[Batch]:
    with closing(pool):
        for step in steps:
            told = pool.collect(stopped)
            if told is None:
                return
            images, tokens = (_tensor(one, device) for one in shared.of(step))
            pool.release()
            yield Batch(step, images, tokens, [one for part in told for one in part])


def _cuda_device() -> int:
    import torch

    return int(torch.cuda.current_device())


def _tensor(content: Any, device: int | None) -> Any:
    """Return a copy as a tensor; page-locked for a device, from which copies to it go on beside the computing."""
    import torch

    # Copied by numpy, in this thread alone: torch would wake threads of its own that then wait at full speed.
    if device is None:
        return torch.from_numpy(content.copy())
    # Each thread has a current device of its own; pinning makes a context on it.
    torch.cuda.set_device(device)
    pinned = torch.empty(content.shape, dtype=getattr(torch, content.dtype.name), pin_memory=True)
    np.copyto(pinned.numpy(), content)
    return pinned
