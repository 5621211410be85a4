"""What tasks that run one after the other in one process share: the model that was opened last, and a look at signals.

Without a session each task opens its model, and nobody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evals.model import ClipModel


class Session:
    """The model that was opened last, and what is called between batches. For one thread."""

    def __init__(self, between_batches: Callable[[], None]) -> None:
        self.between_batches = between_batches
        self._key: Hashable = None
        self._model: ClipModel | None = None

    def opened(self, key: Hashable, open_model: Callable[[], ClipModel]) -> ClipModel:
        """Return the model of an equal key before, or the one that `open_model` opens; another one is let go first."""
        if self._model is None or key != self._key:
            self._model = None
            self._model, self._key = open_model(), key
        return self._model


_current: list[Session] = []


@contextmanager
def session(between_batches: Callable[[], None]) -> Iterator[Session]:
    """Begin a session. `between_batches` is called between two batches of a model; what it raises ends the task."""
    one = Session(between_batches)
    _current.append(one)
    try:
        yield one
    finally:
        _current.remove(one)


def opened(key: Hashable, open_model: Callable[[], ClipModel]) -> ClipModel:
    """Return the session's model of this key; without a session the one that `open_model` opens."""
    return _current[-1].opened(key, open_model) if _current else open_model()


def between_batches() -> None:
    """Call what the session wants to be called."""
    if _current:
        _current[-1].between_batches()
