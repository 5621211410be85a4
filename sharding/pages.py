"""The resident memory of a mapping that some other library made."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
from collections.abc import Callable


def forget_pages(address: int, size: int) -> None:
    """Take the pages of a mapping of a file, read-only, out of this process; they stay in the cache of the system.

    `address` is where the mapping begins, `size` its bytes. Raises OSError.
    """
    if size and _madvise()(address, size, mmap.MADV_DONTNEED) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "madvise")


@functools.cache
def _madvise() -> Callable[[int, int, int], int]:
    # Python's own mmap has this method, but each of its mappings holds a file descriptor: too many with a thousand.
    function = ctypes.CDLL(None, use_errno=True).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
