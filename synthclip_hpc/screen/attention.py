"""Whether anybody looks: what nobody sees need not be polled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

UNFOCUSED_S = 600.0
"""A terminal in the background may well be in sight: it is taken for unseen only after so long."""
UNTOUCHED_S = 7200.0
"""Terminals that do not tell of focus: a screen without a key or the mouse for so long has been left alone."""
AT_HAND_S = 60.0
"""So long after a key, the mouse or the focus the screen is as lively as it can be."""


@dataclass
class Attention:
    """Takes in what the user does."""

    clock: Callable[[], float] = time.monotonic
    is_stopped: bool = False
    """Whether the user has stopped the polling."""
    _touched: float = field(init=False)
    _unfocused: float | None = None

    def __post_init__(self) -> None:
        self._touched = self.clock()

    def touch(self) -> None:
        """A key, the mouse, or the terminal's focus."""
        self._touched, self._unfocused = self.clock(), None

    def lose_focus(self) -> None:
        """The terminal has gone to the background."""
        self._unfocused = self.clock()

    @property
    def is_at_hand(self) -> bool:
        """Whether the user has done something just now; else looks may be rarer."""
        return self.clock() - self._touched < AT_HAND_S

    @property
    def why_paused(self) -> str:
        """Why nothing is polled now; empty when it is."""
        now = self.clock()
        if self.is_stopped:
            return "stopped, p goes on"
        if self._unfocused is not None and now - self._unfocused > UNFOCUSED_S:
            return "paused: nobody looks"
        return "paused: any key goes on" if now - self._touched > UNTOUCHED_S else ""
