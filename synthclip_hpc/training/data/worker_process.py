"""What a loader process is: how it stands among the others, and how it tells of what it made or stumbled over."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from synthclip_hpc.errors import UserError

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2})
_PR_SET_PDEATHSIG = 1


Filling = Callable[[Iterator[None]], Iterator[Any]]
"""Fills a worker's rows of batch after batch: takes from its argument before it touches the memory of the next one, and
yields, once this is filled, what is to be told of it."""


def run_worker(filling: Filling, pipe: Connection, num_slots: int, parent: int) -> None:
    """Be a loader process, forked with the stop signals blocked, until the last batch is filled.

    Sends `(True, what is told)` for each batch, or `(False, error)` and ends. Takes anything from the pipe as leave to
    fill one more of the shared batches.
    """
    _stand_alone(parent)
    try:
        for told in filling(_leave(pipe, num_slots)):
            pipe.send((True, told))
    except UserError as error:
        pipe.send((False, UserError(str(error))))
    except Exception as error:
        # As text: not every error can be sent, and the traceback never can.
        pipe.send((False, RuntimeError(f"{error!r} in a loader process:\n{traceback.format_exc()}")))


def _stand_alone(parent: int) -> None:
    """Outlive the signals that are meant for the training, and not its process."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)
    # A pool of threads does not live through a fork; a tokenizer that wants one would wait for ever.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _leave(pipe: Connection, num_slots: int) -> Iterator[None]:
    for _ in range(num_slots):
        yield
    while True:
        pipe.recv()
        yield
