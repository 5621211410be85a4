"""Threads that work through one list together and end together: the lanes of a worker with several engines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

_LOOK_EVERY_S = 0.5


class LaneEnded(Exception):
    """Another lane has ended the work; raised at a safe point, for the lane's own function to let through."""


class SafePoint(Protocol):
    """Where work asks whether it may go on."""

    def check(self) -> None:
        """Raise what is to end the work here; nothing is lost."""
        ...


class Lanes:
    """Runs one function in several threads; a safe point of theirs, in the place of the attempt's own."""

    def __init__(self, stop: SafePoint | None) -> None:
        self._stop = stop
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._first: BaseException | None = None

    def check(self) -> None:
        """Raise LaneEnded when another lane has ended the work, and what the attempt's safe point raises."""
        if self._ended.is_set():
            raise LaneEnded
        if self._stop is not None:
            self._stop.check()

    def run(self, num_lanes: int, shards: Sequence[int], work: Callable[[Iterator[int]], bool]) -> None:
        """Let every lane call `work` on the shards that are left; each shard goes to one lane.

        The first lane whose `work` returns False or raises ends the others at their next safe point. When all have
        ended, the first exception is raised. The main thread only waits, so that signals are taken note of.
        """
        left = iter(shards)
        threads = [
            threading.Thread(target=self._lane, args=(work, self._share(left)), name=f"lane-{number}")
            for number in range(num_lanes)
        ]
        for thread in threads:
            thread.start()
        try:
            _wait_for(threads)
        finally:
            # Reached early when the waiting itself was interrupted: no lane outlives this call.
            self._ended.set()
            _wait_for(threads)
        if self._first is not None:
            raise self._first

    def _share(self, left: Iterator[int]) -> Iterator[int]:
        while True:
            with self._lock:
                shard = next(left, None)
            if shard is None:
                return
            yield shard

    def _lane(self, work: Callable[[Iterator[int]], bool], share: Iterator[int]) -> None:
        try:
            if not work(share):
                self._ended.set()
        except LaneEnded:
            return
        except BaseException as error:
            with self._lock:
                if self._first is None:
                    self._first = error
            self._ended.set()


def _wait_for(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        while thread.is_alive():
            thread.join(_LOOK_EVERY_S)
