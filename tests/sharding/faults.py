"""Simulated processes: every file primitive of `sharding.files` can fail, tear, wait its turn, or be the last one."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sharding import files

PRIMITIVES = frozenset(
    {
        *("open", "close", "read", "pread", "lseek", "fstat", "stat", "listdir"),
        *("write", "fsync", "link", "rename", "replace", "unlink", "makedirs"),
    }
)


class Killed(BaseException):
    """SIGKILL at a file primitive: from then on nothing of this process reaches the file system any more."""


@dataclass
class Process:
    """What happens to the primitives called in one simulated process."""

    kill_at_call: int | None = None
    """Killed before this primitive call (0 is the first)."""
    kill_at_byte: int | None = None
    """Killed inside a write, after so many bytes of all writes together."""
    disk_bytes: int | None = None
    """The disk is full after so many bytes of all writes together."""
    max_write: int | None = None
    """The kernel takes at most so many bytes in one call."""
    links: bool = True
    """Whether the file system supports hard links."""
    turn: Callable[[], None] | None = None
    """Called before every primitive."""
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    num_bytes: int = 0
    dead: bool = False
    descriptors: set[int] = field(default_factory=set)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.turn is not None and not self.dead:
            self.turn()
        if self.dead or len(self.calls) == self.kill_at_call:
            self._die()
        self.calls.append((name, args))
        if name == "fsync":
            return None
        if name == "write":
            return self._write(*args)
        if name == "link" and not self.links:
            raise OSError(errno.EPERM, "Operation not permitted")
        result = getattr(os, name)(*args, **kwargs)
        if name == "open":
            self.descriptors.add(result)
        elif name == "close":
            self.descriptors.discard(args[0])
        return result

    def _write(self, descriptor: int, data: bytes) -> int:
        taken = data[: self.max_write]
        for limit in (self.kill_at_byte, self.disk_bytes):
            if limit is not None and self.num_bytes + len(taken) > limit:
                taken = taken[: limit - self.num_bytes]
        if taken or not data:
            os.write(descriptor, taken)
            self.num_bytes += len(taken)
        if self.num_bytes == self.kill_at_byte:
            self._die()
        if data and not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(taken)

    def _die(self) -> None:
        self.dead = True
        while self.descriptors:
            os.close(self.descriptors.pop())
        raise Killed


class _ThreadOs:
    """Stands in for `os` in `sharding.files`: in a thread with a simulated process, primitives go through it."""

    def __init__(self) -> None:
        self.local = threading.local()

    def __getattr__(self, name: str) -> Any:
        process = getattr(self.local, "process", None)
        if process is None or name not in PRIMITIVES:
            return getattr(os, name)
        return lambda *args, **kwargs: process.call(name, *args, **kwargs)


_thread_os = _ThreadOs()
vars(files)["os"] = _thread_os


@contextmanager
def running(process: Process) -> Iterator[Process]:
    """The primitives of this thread are the process's for a while."""
    _thread_os.local.process = process
    try:
        yield process
    finally:
        _thread_os.local.process = None


def run(process: Process, body: Callable[[], Any]) -> bool:
    """Run `body` as a simulated process; False if it was killed."""
    with running(process):
        try:
            body()
        except Killed:
            return False
    return True


def run_interleaved(
    processes: Sequence[Process], bodies: Sequence[Callable[[], Any]], schedule: Sequence[tuple[int, int]]
) -> list[BaseException | None]:
    """Run processes side by side, one primitive at a time, in the order of `schedule`: (which process, how many steps).

    What is left after the schedule runs to its end, process by process. Returns what each one raised.
    """
    raised: list[BaseException | None] = [None] * len(processes)
    ended = [False] * len(processes)
    may_go = [threading.Semaphore(0) for _ in processes]
    waits = [threading.Semaphore(0) for _ in processes]

    def pause(index: int) -> None:
        waits[index].release()
        may_go[index].acquire()

    def live(index: int) -> None:
        processes[index].turn = lambda: pause(index)
        try:
            with running(processes[index]):
                bodies[index]()
        except BaseException as error:
            raised[index] = error
        ended[index] = True
        waits[index].release()

    threads = [threading.Thread(target=live, args=(index,)) for index in range(len(processes))]
    for index, thread in enumerate(threads):
        thread.start()
        waits[index].acquire()

    def step(index: int) -> None:
        if not ended[index]:
            may_go[index].release()
            waits[index].acquire()

    for index, num_steps in schedule:
        for _ in range(num_steps):
            step(index)
    for index in range(len(processes)):
        while not ended[index]:
            step(index)
    for thread in threads:
        thread.join()
    return raised
