"""An object in a process of its own, so that one worker can use several side by side, each on GPUs of its own.

The processes are the worker's alone. Signals to a job are the worker's to act upon, at its safe points; when it dies,
however it dies, the kernel ends them. One that dies by itself costs the call in hand, and is started again by the next.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from synthclip_hpc.device_child import FOR_THE_WORKER, Call, Failure, send, serve
from synthclip_hpc.errors import UserError
from synthclip_hpc.place import devices_of_worker

_LOOK_EVERY_S = 0.5
_PATIENCE_S = 20.0
"""How long an object may take to close, within what a scheduler leaves between its warning and the end."""


class ProcessDied(RuntimeError):
    """A process ended while what it holds was needed."""


@dataclass(frozen=True)
class _Child:
    process: SpawnProcess
    connection: Connection


def visible_gpus(key: str, count: int, each: int, number: int, given: str | None) -> str | None:
    """Return CUDA_VISIBLE_DEVICES for object `number` (from 0) of `count` that take `each` GPUs; None to leave it.

    `given` is the worker's own, `key` the argument that says how many objects. Raises UserError for too few GPUs.
    """
    if each == 0:
        return None
    there = None if given is None else sum(1 for word in given.split(",") if word.strip())
    if there is not None and there < count * each:
        raise UserError(
            f"{key}={count}: they take {count * each} GPUs, and the worker has {there} (CUDA_VISIBLE_DEVICES={given}); "
            f"ask for more (slurm.gpus_per_node={count * each}) or lower {key}"
        )
    return devices_of_worker(number, each, given)


class DeviceProcess:
    """What a function opens, in a process of its own, and its methods from here. Used by one thread at a time."""

    died: type[ProcessDied] = ProcessDied
    """What is raised when the process has ended."""

    def __init__(
        self, opener: Callable[..., Any], arguments: tuple[Any, ...], *, key: str, name: str, visible: str | None
    ) -> None:
        """Start the process; `wait_until_open` tells what became of it.

        `opener`, a function of a module, and `arguments` are pickled, as are calls and answers. `key` and `name` are
        for messages: the argument that chose the object, and which of several it is. `visible` is the process's
        CUDA_VISIBLE_DEVICES, set before `opener` is imported; None leaves it alone.
        """
        self.name = name
        self._key = key
        self._arguments = (opener, arguments, visible)
        self._child: _Child | None = self._start()

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        return None if self._child is None else self._child.process.pid

    def wait_until_open(self) -> Any:
        """Wait until the object can be called; return its `facts`, None when it has none.

        Raises what opening it raised; `died` when its process ended.
        """
        return self._answer()

    def call(self, method: str, *arguments: Any) -> Any:
        """Return what the object's method returns; an object that was lost is opened again first.

        Raises what the method raised, with its traceback in a note, and `died` when the process ended.
        """
        if self._child is None:
            self._child = self._start()
            self.wait_until_open()
        # To a process that is gone there is nothing to send; the missing answer says why.
        if self._child.process.is_alive():
            with contextlib.suppress(OSError):
                send(self._child.connection, Call(method, arguments))
        return self._answer()

    def close(self) -> None:
        """Close the object and end its process; at once when it does not close by itself in time."""
        if self._child is None:
            return
        with contextlib.suppress(OSError):  # gone already
            send(self._child.connection, None)
        self._child.process.join(_PATIENCE_S)
        self.kill()

    def kill(self) -> None:
        """End the process now, and whatever it has started."""
        child, self._child = self._child, None
        if child is None:
            return
        child.process.kill()
        with contextlib.suppress(ProcessLookupError):  # nobody is left in its group
            os.killpg(_pid(child), signal.SIGKILL)
        child.process.join(_PATIENCE_S)
        child.connection.close()

    def _start(self) -> _Child:
        return _starter().submit(_start, *self._arguments).result()

    def _answer(self) -> Any:
        """Return what the process says next; after anything but an answer or a user's mistake it is ended."""
        assert self._child is not None
        try:
            told = _receive(self._child)
        except (EOFError, OSError):
            raise self._ended() from None
        except BaseException:
            # What is still to come would be taken for the answer to the next call.
            self.kill()
            raise
        if not isinstance(told, Failure):
            return told
        if not isinstance(told.error, UserError):
            # After a fault of its GPU, most of all, a process never gets an answer from it again.
            self.kill()
        raise told.error

    def _ended(self) -> ProcessDied:
        assert self._child is not None
        pid = self.pid
        self._child.process.join(_PATIENCE_S)
        code = self._child.process.exitcode
        self.kill()
        how = "has closed its connection" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            how += " (most often for want of memory: slurm.memory)"
        return self.died(f"{self._key}: the process of {self.name} (pid {pid}) {how}; see the log before this")


Process = TypeVar("Process", bound=DeviceProcess)


@contextlib.contextmanager
def side_by_side(start: Callable[[int], Process], count: int) -> Iterator[list[Process]]:
    """Open `count` objects at once, each in the process that `start` (by its number, from 0) has started.

    All are closed at the end. Raises what opening one of them raises.
    """
    started: list[Process] = []
    try:
        for number in range(count):
            started.append(start(number))
        for one in started:
            one.wait_until_open()
    except BaseException:
        for one in started:
            one.kill()
        raise
    try:
        yield started
    finally:
        with ThreadPoolExecutor(len(started)) as pool:
            list(pool.map(lambda one: one.close(), started))


@cache
def _starter() -> ThreadPoolExecutor:
    """Return the one thread that starts processes.

    A process that asks to end with its parent ends with the thread that started it. This one lives as long as the
    worker; a thread that works through shards may end while others still use what it opened again.
    """
    return ThreadPoolExecutor(1, "process-starter")


def _start(*arguments: Any) -> _Child:
    """Start a process that serves an object; in the thread made for it, which no signal needs to reach."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_WORKER)
    # Otherwise it is started on the way, and lets two of these signals through afterwards.
    resource_tracker.ensure_running()
    # Inherited by the new process, which may be sent them before it can ignore them.
    signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_WORKER)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # No daemon in Python's sense: those may not have processes of their own, as vLLM's engine does on several GPUs.
    process = context.Process(target=serve, args=(theirs, os.getpid(), *arguments))
    try:
        process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return _Child(process, ours)


def _receive(child: _Child) -> Any:
    """Return the next message. Raises EOFError when none can come, even if others hold the pipe's other end open."""
    while not child.connection.poll(_LOOK_EVERY_S):
        if not child.process.is_alive() and not child.connection.poll():
            raise EOFError
    return child.connection.recv()


def _pid(child: _Child) -> int:
    assert child.process.pid is not None
    return child.process.pid
