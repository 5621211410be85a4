"""How one checkpoint gets onto the disk and under its name."""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from sharding import files
from synthclip_hpc.training.checkpoints.checking import verify
from synthclip_hpc.training.checkpoints.layout import (
    MANIFEST,
    STATE,
    Broken,
    FileFacts,
    Manifest,
    published_name,
    temporary_name,
)
from synthclip_hpc.training.checkpoints.removing import delete, set_aside

_TAKEN = {errno.EEXIST, errno.ENOTEMPTY}
_NUM_TRIES = 5
_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class Progress:
    """Where training stands, and whose state it is."""

    step: int
    epoch: float
    samples: int
    marked: bool
    world_size: int
    plan_hash: str
    inputs_hash: str
    attempt: str


class _HashingFile:
    """What torch writes to: a new file, and the checksum of all that went into it.

    Hashing and writing both leave the interpreter to other threads for as long as a tensor takes.
    """

    def __init__(self, path: Path) -> None:
        # Not `files.open_new`, which would make the folder again that another attempt has just renamed away.
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._digest = sha256()
        self._size = 0
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        # torch goes on to write its table of contents after an error; nothing more may reach the file then.
        if self.error is not None:
            raise self.error
        rest = memoryview(data).cast("B")
        num_bytes = len(rest)
        try:
            while rest:
                chunk, rest = rest[:_CHUNK_BYTES], rest[_CHUNK_BYTES:]
                self._digest.update(chunk)
                files.write(self._descriptor, chunk)
        except OSError as error:
            self.error = error
            raise
        self._size += num_bytes
        return num_bytes

    def flush(self) -> None:
        """Nothing is held back here; torch asks for it."""

    def finish(self) -> FileFacts:
        """Flush to disk."""
        files.sync(self._descriptor)
        return FileFacts(self._size, self._digest.hexdigest())

    def close(self) -> None:
        files.close(self._descriptor)


def write_checkpoint(folder: Path, state: dict[str, Any], progress: Progress, started: float) -> tuple[Path, Manifest]:
    """Write a checkpoint into the attempt's own folder, flushed to disk; `publish` gives it its name.

    `state` holds CPU tensors and plain values; `started` (of time.monotonic) is when saving began. What an earlier life
    of the same attempt left of this step is removed. On an OSError, such as a full disk, the folder is removed.
    """
    import torch

    temporary = folder / temporary_name(progress.step, progress.attempt)
    files.make_directory(folder)
    try:
        temporary.mkdir()
    except FileExistsError:
        # Renamed before it is removed: should its writer live, it must not find our files under its hands.
        delete(set_aside(temporary, progress.step))
        temporary.mkdir()
    try:
        facts = _write_state(temporary / STATE, state)
        manifest = Manifest(
            **vars(progress),
            saved_at=round(time.time() - (time.monotonic() - started), 3),
            seconds=round(time.monotonic() - started, 3),
            files={STATE: facts},
            versions={"python": platform.python_version(), "torch": torch.__version__},
        )
        _write_manifest(temporary / MANIFEST, manifest)
        files.sync_directory(temporary)
    except OSError:
        delete(temporary)
        raise
    return temporary, manifest


def publish(folder: Path, temporary: Path, manifest: Manifest, tell: Callable[[str], None]) -> bool:
    """Give a written checkpoint its name. True when it has it, False when an equal one of another attempt stands there.

    An attempt that lost contact may have been faster; what it published stays when it is whole, and is replaced,
    loudly, when it is broken. `temporary` is gone afterwards. Raises OSError; then the folder is removed as well.
    """
    final = folder / published_name(manifest.step)
    try:
        for _ in range(_NUM_TRIES):
            try:
                # A rename onto a folder that is not empty is refused: this is the look and the deed in one.
                os.rename(temporary, final)
                files.sync_directory(folder)
                return True
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
            try:
                there = verify(final)
            except FileNotFoundError:
                continue
            except Broken as broken:
                tell(f"{final}: {broken}; it is replaced by what this attempt saved for the same step")
                delete(set_aside(final, manifest.step))
                continue
            _keep_existing(final, there, temporary, manifest)
            return False
        raise OSError(errno.EBUSY, "others go on replacing it", str(final))
    except OSError:
        delete(temporary)
        raise


def _keep_existing(final: Path, there: Manifest, temporary: Path, manifest: Manifest) -> None:
    if (there.plan_hash, there.inputs_hash) != (manifest.plan_hash, manifest.inputs_hash):
        raise FileExistsError(errno.EEXIST, "a checkpoint of another plan or data set has this name", str(final))
    if manifest.marked and not there.marked:
        # By a rename out of our own folder: it never makes a folder anew that someone has just set aside.
        marked = temporary / MANIFEST
        marked.unlink()
        _write_manifest(marked, replace(there, marked=True))
        os.replace(marked, final / MANIFEST)
        files.sync_directory(final)
    delete(temporary)


def _write_state(path: Path, state: dict[str, Any]) -> FileFacts:
    import torch

    file = _HashingFile(path)
    try:
        try:
            torch.save(state, file)
        except Exception:
            # torch tells of a failed write as of a wrong position in the file; the cause is the one to know.
            if file.error is not None:
                raise file.error from None
            raise
        return file.finish()
    finally:
        file.close()


def _write_manifest(path: Path, manifest: Manifest) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        files.write(descriptor, manifest.to_bytes())
        files.sync(descriptor)
    finally:
        files.close(descriptor)
