"""Files that appear in one piece."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(out: Path, write: Callable[[BinaryIO], object]) -> None:
    """Put what `write` writes at `out` by rename, so that no reader sees half of it; an old file stays until then.

    Raises OSError, and what `write` raises; then nothing is left behind.
    """
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; a result is for whoever may read its folder.
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        part.replace(out)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
