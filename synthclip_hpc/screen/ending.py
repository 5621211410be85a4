"""Ended by a signal an app puts the terminal right too."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from typing import Any

from textual.app import App


def end_on_signals(app: App[Any]) -> None:
    """Let SIGTERM and SIGHUP end an app as a key does, with the exit code that shells give; call it when mounted."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError, RuntimeError):  # not the main thread: somebody else's program
            asyncio.get_running_loop().add_signal_handler(number, functools.partial(app.exit, return_code=128 + number))
