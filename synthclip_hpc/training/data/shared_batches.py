"""Memory that the processes of a loader share: some batches, each of which is filled by all of them together."""

from __future__ import annotations

import mmap

import numpy as np

from synthclip_hpc.training.data.decoding import Pixels
from synthclip_hpc.training.data.tokens import Tokens


class SharedBatches:
    """A ring of batches: step s uses the same memory as step s + `num_slots`.

    The memory has no name, so nothing is left of it when the processes are gone, however they went.
    """

    def __init__(self, num_slots: int, rows: int, image_size: int, context_length: int) -> None:
        """Make room for `num_slots` times `rows` samples; processes forked afterwards share it."""
        self.num_slots = num_slots
        images, tokens = (num_slots, rows, 3, image_size, image_size), (num_slots, rows, context_length)
        image_bytes = int(np.prod(images))
        token_start = -(-image_bytes // 64) * 64
        # Views keep the mapping alive; it goes when the last of them does.
        memory = mmap.mmap(-1, max(1, token_start + 8 * int(np.prod(tokens))))
        self._images = np.frombuffer(memory, np.uint8, image_bytes).reshape(images)
        self._tokens = np.frombuffer(memory, np.int64, int(np.prod(tokens)), token_start).reshape(tokens)

    def of(self, step: int) -> tuple[Pixels, Tokens]:
        """Return images uint8 [rows, 3, size, size] and tokens int64 [rows, context length] of a step."""
        slot = step % self.num_slots
        return self._images[slot], self._tokens[slot]
