"""Images from tars to batches for a model, decoded in processes beside it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from evals.errors import EvalError
from evals.folder import Images

if TYPE_CHECKING:
    import torch

_MAX_WORKERS = 16


def default_workers() -> int:
    """Return how many processes decode where nothing else is said: one a core of this process, 16 at most."""
    return min(len(os.sched_getaffinity(0)), _MAX_WORKERS)


def batches(
    images: Images, preprocess: Callable[[Any], torch.Tensor], batch_size: int, workers: int, pin: bool
) -> Iterator[torch.Tensor]:
    """Yield float [batch, 3, height, width] in the order of the images, the last one shorter.

    The processes end with this one. Raises EvalError for an image that cannot be decoded.
    """
    from torch.utils.data import DataLoader

    loader = DataLoader(
        _Decoded(images, preprocess),  # type: ignore[arg-type]
        batch_size=batch_size,
        num_workers=min(workers, -(-len(images) // batch_size)),
        collate_fn=_together,
        pin_memory=pin,
    )
    try:
        for batch in loader:
            if isinstance(batch, str):
                raise EvalError(batch)
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise EvalError(
            f"workers={workers}: a process that decodes images was killed, most likely for want of memory or of shared "
            "memory (/dev/shm); give fewer workers, or workers=0"
        ) from error


class _Decoded:
    """What a DataLoader takes items from; each process opens the tars for itself."""

    def __init__(self, images: Images, preprocess: Callable[[Any], torch.Tensor]) -> None:
        self._images = images
        self._preprocess = preprocess
        self._opened: tuple[int, BinaryIO] | None = None

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> torch.Tensor | str:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(self._content(index))) as image:
                return self._preprocess(image.convert("RGB"))
        except MemoryError:
            raise
        except (
            Exception
        ) as error:  # Pillow's decoders raise whatever they stumble over: OSError, SyntaxError, struct.error
            # As a text: an exception would come out of the process with its traceback for a message.
            return f"{self._images.name(index)}: damaged image ({error or type(error).__name__}); copy or make it anew"

    def _content(self, index: int) -> bytes:
        shard = int(self._images.shard[index])
        if self._opened is None or self._opened[0] != shard:
            self._opened = shard, self._images.shards[shard].open("rb", buffering=0)
        handle = self._opened[1].fileno()
        return os.pread(handle, int(self._images.size[index]), int(self._images.offset[index]))


def _together(items: list[torch.Tensor | str]) -> torch.Tensor | str:
    from torch.utils.data import default_collate

    broken = [item for item in items if isinstance(item, str)]
    if broken:
        return broken[0]
    stacked: torch.Tensor = default_collate(items)  # in a process: straight into memory that both sides share
    return stacked
