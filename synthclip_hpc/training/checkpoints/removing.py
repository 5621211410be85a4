"""How folders of checkpoints go: renamed first, so that no name ever leads to a half of one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sharding import files
from synthclip_hpc.training.checkpoints.layout import gone_name


def set_aside(path: Path, step: int) -> Path:
    """Rename a checkpoint's folder, published or at work, to a name that nobody reads; return that name.

    One that is gone already was set aside by another attempt, which is what was wanted.
    """
    gone = path.with_name(gone_name(step))
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, gone)
        # Before its files go: a node that is lost in between must not bring the old name back without them.
        files.sync_directory(path.parent)
    return gone


def delete(path: Path) -> None:
    """Remove a folder and its files. Two may do so at the same time; one that is gone is what was wanted.

    Raises OSError when it holds a folder, which is never ours, or when a file of it is in use elsewhere (NFS).
    """
    for name in files.list_directory(path):
        files.remove(path / name)
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()
