"""What reading one tar of the data set comes to, and reading it: checksum in one thread, members in the other."""

from __future__ import annotations

import hashlib
import mmap
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharding.tar_scan import mapped


@dataclass
class Found:
    """Columns of the samples and rejects of a tar, one entry a row; see `columns.verified_schema`."""

    columns: dict[str, Any]
    """Column -> list or Arrow array, all of one length; what is left out is null in all rows."""
    num_samples: int
    num_rejects: int = 0


Read = Callable[["bytes | mmap.mmap"], Found]


@dataclass(frozen=True)
class Contents:
    """A tar that was read once."""

    found: Found
    size_bytes: int
    sha256: str
    facts: dict[str, Any] = field(default_factory=dict)


def read_once(path: Path, read: Read, hasher: Executor) -> Contents:
    """Map a tar, and hash it in `hasher` while `read` looks at its members; both work on the same pages.

    Raises what `read` raises, and OSError as it comes.
    """
    with mapped(path) as content:
        if isinstance(content, mmap.mmap):
            content.madvise(mmap.MADV_SEQUENTIAL)
        hashing = threading.Event()

        def digest_of() -> str:
            hashing.set()
            return hashlib.sha256(content).hexdigest()

        digest = hasher.submit(digest_of)
        try:
            # The hasher needs the interpreter's lock to begin, not to hash. Not waited for, it would get it only when
            # `read` gives it up: up to 5 ms later, of the 12 that hashing 1,000 samples takes.
            hashing.wait()
            found = read(content)
        finally:
            # The map cannot be closed under the other thread's hands.
            sha256 = digest.result()
        return Contents(found, len(content), sha256)
