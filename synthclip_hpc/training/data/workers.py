"""The loader processes of a rank: forked together, killed together, and none of them missed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from synthclip_hpc.training.data.worker_process import STOP_SIGNALS, Filling, run_worker

_POLL_S = 0.2


class LoaderDied(RuntimeError):
    """A loader process was killed, as happens when memory runs out; the samples are as good as they were."""


class Workers:
    """Processes that fill the same shared batches, each its own rows.

    They end with the thread that made this, with `close`, and at the latest with the program.
    """

    def __init__(self, fillings: Sequence[Filling], num_slots: int) -> None:
        """Fork a process for each filling; from their first instant they ignore what tells a training to stop."""
        context = multiprocessing.get_context("fork")
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        # Not `terminate`, as multiprocessing would at the program's end: they ignore that.
        self._end = weakref.finalize(self, _kill, self._processes)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            for number, filling in enumerate(fillings):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=run_worker,
                    args=(filling, theirs, num_slots, os.getpid()),
                    name=f"loader worker {number}",
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._pipes.append(ours)
                self._processes.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def collect(self, stopped: Callable[[], bool]) -> list[Any] | None:
        """Wait until the next batch is filled; return what each process tells of it, None as soon as `stopped` says so.

        Raises a process's own error, and LoaderDied naming a process that died.
        """
        told = []
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            while not pipe.poll():
                if stopped():
                    return None
                if process.sentinel in wait([pipe, process.sentinel], _POLL_S) and not pipe.poll():
                    raise LoaderDied(_fate(process))
            try:
                right, value = pipe.recv()
            except (EOFError, ConnectionResetError):
                raise LoaderDied(_fate(process)) from None
            if not right:
                raise value
            told.append(value)
        return told

    def release(self) -> None:
        """Give the oldest batch's memory back to be filled again."""
        for pipe in self._pipes:
            try:
                pipe.send(None)
            except (BrokenPipeError, ConnectionResetError):
                continue  # the process is through, or dead: then `collect` says so when its batch is due

    def close(self) -> None:
        """End all processes at once."""
        self._end()
        for pipe in self._pipes:
            pipe.close()

    @property
    def pids(self) -> list[int]:
        """Process ids."""
        return [process.pid for process in self._processes if process.pid is not None]


def _kill(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def _fate(process: BaseProcess) -> str:
    process.join(1)
    code = process.exitcode
    how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    return f"{process.name} (pid {process.pid}) died: {how}. If nobody killed it, it may have run out of memory"
