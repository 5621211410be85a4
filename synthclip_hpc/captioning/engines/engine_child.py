"""The inside of an engine's process: opens the engine, answers what comes through a pipe, ends with its worker."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

from synthclip_hpc.captioning.engines.engine import Engine, Request
from synthclip_hpc.captioning.models.folder import ModelFiles
from synthclip_hpc.config import CaptionsConfig

Opener = Callable[[CaptionsConfig, ModelFiles | None], Engine]
"""What opens an engine: a function of a module, which the new process imports by its name."""

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
FOR_THE_WORKER = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that may reach a whole job; what follows from them is the worker's to decide."""


class Failure:
    """An error on its way to the worker, with what its traceback said."""

    def __init__(self, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        self.error = error if _travels(error) else RuntimeError(f"{type(error).__name__}: {error}")
        self.error.add_note(f"In the engine's process:\n{trace}")


def serve(
    connection: Connection,
    worker_pid: int,
    opener: Opener,
    config: CaptionsConfig,
    model: ModelFiles | None,
    visible: str | None,
) -> None:
    """Be an engine's process: say that it is open, then answer batches until there are no more."""
    _belong_to(worker_pid)
    if visible is not None:
        # Read when the libraries of the engine are imported, which happens below.
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    try:
        engine = opener(config, model)
    except Exception as error:
        connection.send(Failure(error))
        return
    connection.send("open")
    while (batch := _next_batch(connection)) is not None:
        try:
            connection.send(engine.generate(batch))
        except Exception as error:
            connection.send(Failure(error))
    engine.close()


def _next_batch(connection: Connection) -> list[Request] | None:
    try:
        batch: list[Request] | None = connection.recv()
    except EOFError:
        return None
    return batch


def _belong_to(worker_pid: int) -> None:
    """End with the worker, leave signals to it, and be the head of a group that can be ended as a whole."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != worker_pid:
        os._exit(1)  # it died before this process had asked to end with it
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
