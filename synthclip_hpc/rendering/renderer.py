"""What a renderer is: it turns requests into pictures. Seeds are given to it; it draws no random number of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np


class Request(NamedTuple):
    """One image to draw."""

    caption: str
    seed: int
    """0 to 2^63 - 1; the picture follows from the caption, this number and the renderer's settings alone (with GPU
    kernels: up to rounding)."""


@dataclass(frozen=True)
class Picture:
    """What became of a request: pixels, or a reason why there are none."""

    pixels: np.ndarray | None = None
    """(height, width, 3) uint8 RGB of any size; None when there are none to use."""
    reject_reason: str | None = None
    """Set exactly where `pixels` is None: a word such as `non_finite`, `unsafe`, `no_artwork`."""
    may_retry: bool = True
    """For a rejected picture: whether another seed may help."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What `facts` of the renderer has no single value for: facts of this picture, of the same keys and JSON types for
    every picture of a renderer."""


class Renderer(Protocol):
    """Draws batches of requests. Used by one thread at a time.

    Where a worker has several, each is opened in a process of its own: then facts and pictures are pickled.
    """

    facts: Mapping[str, Any]
    """JSON values that go into every sample's record: at least `renderer`, `model`, `revision` (str), `steps` (int),
    `guidance` (float)."""

    def draw(self, batch: Sequence[Request]) -> list[Picture]:
        """Return one picture a request, in order. A picture may depend on its batch only by rounding.

        Raises OSError and RuntimeError as they come; what one request cannot help is a rejected picture, no error.
        """

    def close(self) -> None:
        """Give back the device's memory."""
