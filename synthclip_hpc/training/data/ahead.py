"""An iterator that a thread of its own is some items ahead with."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """The items of an iterator, made by a thread that is at most `limit` of them ahead; close it when done.

    An error of the iterator is raised where its item would have come.
    """

    def __init__(self, items: Callable[[], Iterator[T]], limit: int, name: str) -> None:
        """`items` is called in the thread. It may be a generator, which is closed with this."""
        self._limit = limit
        self._ready: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(items,), name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        """Yield the items that are left, waiting as long as it takes. Raises the iterator's error."""
        while True:
            self.wait(None)
            try:
                item = self.take()
            except StopIteration:
                return
            yield item

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the next item or the end, `timeout_s` at most; tell whether `take` can say at once what is next."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._ready) or self._ended, timeout_s)

    def take(self) -> T:
        """Return the next item, once `wait` said yes. Raises the iterator's error, StopIteration behind the last."""
        with self._changed:
            if self._ready:
                self._changed.notify_all()
                return self._ready.popleft()
        if self._error is not None:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        """End the thread, as soon as the item in the making is made."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self, items: Callable[[], Iterator[T]]) -> None:
        try:
            made = items()
            try:
                for item in made:
                    with self._changed:
                        self._changed.wait_for(lambda: len(self._ready) < self._limit or self._closed)
                        if self._closed:
                            return
                        self._ready.append(item)
                        self._changed.notify_all()
            finally:
                close = getattr(made, "close", None)
                if close is not None:
                    close()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
