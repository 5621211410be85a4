"""The lab's directory: whose it is, who works in it now, and removing what a lab wrote and nothing else."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slurm.onemachine.lab import LabUsageError, record_path

SUBDIRECTORIES = ("etc", "gpu", "log", "munge", "mysql", "pid", "spool", "state")
_MARK = ".slurm-onemachine"
"""Marks a directory as a lab's, so that a mistyped --dir never costs anybody a file; also the lock."""


def is_lab_directory(path: Path) -> bool:
    """Whether a lab, running or dead, has its files in `path`."""
    return (path / _MARK).exists()


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Make `path` a lab's directory and hold its lock: `up` and `down` of the same lab wait for one another.

    Raises:
        LabUsageError: the directory is another user's, or holds files that are no lab's.
    """
    descriptor = _lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


def wipe(path: Path) -> bool:
    """Remove everything a lab writes, except for the mark (its lock is held); False when there was nothing."""
    record_path(path).unlink(missing_ok=True)
    present = [path / name for name in SUBDIRECTORIES if (path / name).exists()]
    for subdirectory in present:
        shutil.rmtree(subdirectory)
    return bool(present)


def remove(path: Path) -> None:
    """Remove a wiped directory. One that holds a user's own files besides is left, without the mark."""
    (path / _MARK).unlink(missing_ok=True)
    if not any(path.iterdir()):
        path.rmdir()


def _lock(path: Path) -> int:
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_ownership(path)
        descriptor = os.open(path / _MARK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Whoever held the lock before us may have removed the directory: then we hold a lock on nothing.
        try:
            current = os.stat(path / _MARK).st_ino
        except FileNotFoundError:
            current = None
        if current == os.fstat(descriptor).st_ino:
            return descriptor
        os.close(descriptor)


def _check_ownership(path: Path) -> None:
    if not path.is_dir():
        raise LabUsageError(f"dir: {path} is not a directory; choose another with --dir")
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise LabUsageError(f"dir: {path} belongs to user id {owner}, not to {os.geteuid()}; choose another with --dir")
    if not is_lab_directory(path) and any(path.iterdir()):
        raise LabUsageError(
            f"dir: {path} holds files that are not a lab's; "
            "choose an empty directory, or one that does not exist yet, with --dir"
        )
