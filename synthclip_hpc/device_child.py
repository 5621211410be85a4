"""The inside of a process that serves an object: opens it, answers calls from a pipe, ends with its worker."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from synthclip_hpc.processes import end_with

FOR_THE_WORKER = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that may reach a whole job; what follows from them is the worker's to decide."""
_PROTOCOL = 5
"""Of pickle: arrays are written without a copy of theirs."""


class Call(NamedTuple):
    """A method to call, and what with."""

    method: str
    arguments: tuple[Any, ...]


class Failure:
    """An error on its way to the worker, with what its traceback said."""

    def __init__(self, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        self.error = error if _travels(error) else RuntimeError(f"{type(error).__name__}: {error}")
        self.error.add_note(f"In a process of its own:\n{trace}")


def send(connection: Connection, message: object) -> None:
    """Send what `Connection.recv` returns at the other end. Raises what pickle raises before anything is sent."""
    connection.send_bytes(pickle.dumps(message, _PROTOCOL))


def serve(
    connection: Connection,
    worker_pid: int,
    opener: Callable[..., Any],
    arguments: tuple[Any, ...],
    visible: str | None,
) -> None:
    """Be the process of what `opener` opens: tell its `facts` (None without any), then answer calls, then close it."""
    _belong_to(worker_pid)
    if visible is not None:
        # Read when the libraries of the device are imported, which happens below.
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    try:
        opened = opener(*arguments)
        send(connection, getattr(opened, "facts", None))
    except Exception as error:
        send(connection, Failure(error))
        return
    while (call := _next_call(connection)) is not None:
        try:
            send(connection, getattr(opened, call.method)(*call.arguments))
        except Exception as error:
            send(connection, Failure(error))
    opened.close()


def _next_call(connection: Connection) -> Call | None:
    try:
        call: Call | None = connection.recv()
    except EOFError:
        return None
    return call


def _belong_to(worker_pid: int) -> None:
    """End with the worker, leave signals to it, and be the head of a group that can be ended as a whole."""
    end_with(worker_pid)
    os.setpgid(0, 0)
    for number in FOR_THE_WORKER:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_WORKER)


def _travels(error: Exception) -> bool:
    """Tell whether an error arrives as what it is."""
    try:
        arrived = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class raises on the way
        return False
    return type(arrived) is type(error) and str(arrived) == str(error)
