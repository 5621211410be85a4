"""Asking somebody who may not answer: in a thread, so that whoever looks goes on with what is known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


class Asker(Generic[_Answer]):
    """Asks one question at a time. A question that is never answered costs a thread, and no second one is started."""

    def __init__(self, patience_s: float | None) -> None:
        """`patience_s`: how long a question may keep whoever asks waiting, however often it is asked again.

        None for as long as it takes, without a thread.
        """
        self._patience_s = patience_s
        self._thread: threading.Thread | None = None
        self._asked_at = 0.0
        self._answers: list[_Answer] = []

    @property
    def open_s(self) -> float:
        """How long the present question has been open, in seconds; 0 when there is none."""
        is_open = self._thread is not None and self._thread.is_alive()
        return time.monotonic() - self._asked_at if is_open else 0.0

    def ask(self, question: Callable[[], _Answer]) -> _Answer | None:
        """Return the answer, None while there is none; `question` is not called while an earlier one is open."""
        if self._patience_s is None:
            return question()
        if self._thread is None:
            self._asked_at = time.monotonic()
            # A daemon: a hanging squeue must not keep the command from ending.
            self._thread = threading.Thread(target=lambda: self._answers.append(question()), name="ask", daemon=True)
            self._thread.start()
        # What has not come in that time is fetched when it has: asked for five phases, it must not take five times as
        # long.
        self._thread.join(max(0.0, self._asked_at + self._patience_s - time.monotonic()))
        if self._thread.is_alive():
            return None
        self._thread = None
        return self._answers.pop() if self._answers else None
