"""What a caption engine is: opened once for an attempt, it answers one fixed batch of prompts after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Request(NamedTuple):
    """One answer to write."""

    concept: str
    prompt: str
    """What the model is asked, the concept filled in: the user's message, without any chat template."""
    seed: int
    """64 bits that every random choice for this answer must follow from; another try comes with another seed."""


class Engine(Protocol):
    """Answers prompts. An answer may depend on its own batch and on nothing else that came before.

    An engine is opened by a function `(config: CaptionsConfig, model: ModelFiles | None) -> Engine`.
    """

    def generate(self, batch: Sequence[Request]) -> list[str]:
        """Answer every request of a batch, in order: the raw text, without special tokens. Raises what went wrong."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...
