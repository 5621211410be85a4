"""How many items are on the device at once: fewer when its memory is too small, and then it stays at that."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class DeviceBatch:
    """Cuts batches into parts that fit into the device's memory; out of memory halves the part and goes on."""

    def __init__(self, items: int, *, stage: str, what: str, key: str) -> None:
        """`items` at once, 0 = a whole batch. `stage`, `what` (in the plural) and `key` are for the message."""
        self.items = items
        self._stage = stage
        self._what = what
        self._key = key

    def run(
        self,
        batch: Sequence[Item],
        work: Callable[[Sequence[Item]], list[Result]],
        too_small: Callable[[Exception], Exception],
    ) -> list[Result]:
        """Return what `work` makes of every item, in order.

        Raises `too_small(error)` when the memory does not even hold one item.
        """
        done: list[Result] = []
        while len(done) < len(batch):
            part = batch[len(done) : len(done) + (self.items or len(batch))]
            done.extend(self._work_or_shrink(part, work, too_small))
        return done

    def _work_or_shrink(
        self,
        part: Sequence[Item],
        work: Callable[[Sequence[Item]], list[Result]],
        too_small: Callable[[Exception], Exception],
    ) -> list[Result]:
        """Return what `work` makes of the part; or nothing, with `items` halved, when the memory is too small."""
        import torch

        try:
            return work(part)
        except torch.OutOfMemoryError as error:
            if len(part) == 1:
                raise too_small(error) from error
        # Out of the except block: until here the error's traceback held the tensors that did not fit.
        self.items = len(part) // 2
        gc.collect()
        torch.cuda.empty_cache()
        print(
            f"{self._stage}: {len(part)} {self._what} do not fit into the device's memory; going on with {self.items} "
            f"(in a new run {self._key}={self.items} starts with that)",
            file=sys.stderr,
            flush=True,
        )
        return []
