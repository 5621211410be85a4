"""What a caption engine is: opened once for an attempt, it writes captions for one fixed batch after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Request(NamedTuple):
    """One caption to write."""

    concept: str
    n: int
    """Number of the caption among those of its concept, from 0."""
    seed: int
    """64 bits that every random choice for this caption must follow from."""


class Answer(NamedTuple):
    """What became of a request; exactly one of `caption` and `reject_reason` is None."""

    caption: str | None
    prompt: str
    num_tries: int
    reject_reason: str | None


class Engine(Protocol):
    """Writes captions. An answer may depend on its own batch, and on nothing else that came before."""

    model: str
    """What the `model` column says."""

    def generate(self, batch: Sequence[Request]) -> list[Answer]:
        """Answer every request of a batch, in order."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...
