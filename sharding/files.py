"""Every effect on files that this package has: each safe against a kill and against a second writer on another host.

What is relied on: `rename` and `link` within one file system are atomic, `O_EXCL` and `link` tell one winner, and a
file that is opened shows what was written before its writer closed it (NFS's close-to-open). What is not relied on:
locks, time stamps, attribute caches. Permissions follow from the umask of the process.

All effects go through this module's `os`, so that a test can put faults behind every single one of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from pathlib import Path

# What a file system answers that has no hard links, or none between directories (BeeGFS, some Lustre layouts).
_LINK_REFUSED = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV}
# What a file system answers that cannot fsync a directory. Anything else, EIO above all, is a real failure.
_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.EACCES, errno.EPERM, errno.EBADF, errno.ENOTSUP, errno.ENOSYS, errno.EISDIR}
_CHUNK_BYTES = 1 << 20

Checksum = tuple[int, str]
"""(size in bytes, sha256 in hexadecimal) of a file's content."""


def replace_file(path: Path, data: bytes) -> None:
    """Give `path` this content at once: readers see the old file or the new one, never a part. Durable on return."""
    temporary = _write_temporary(path, data)
    try:
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise
    sync_directory(path.parent)


def create_file(path: Path, data: bytes) -> bool:
    """Create `path` with this content, whole, unless it exists. False if it was there; it is then left as it is.

    Where hard links are not supported the file is renamed into place after a look: still whole, but of two creators in
    the same instant both may be told True. What builds on this stays right then and may at worst be done twice.
    """
    temporary = _write_temporary(path, data)
    try:
        created = _link_or_rename(temporary, path)
    except FileNotFoundError:
        # Another creator was first, and took this temporary file for a leftover of a killed one.
        if not path.exists():
            raise
        created = False
    finally:
        remove(temporary)
    sync_directory(path.parent)
    return created


def write_file(path: Path, data: bytes) -> None:
    """Write a file that no one else uses yet. An existing one is unlinked first, as it may be linked elsewhere.

    Neither atomic nor durable: `publish` makes it both, and each flush less is a wait less on a shared file system.
    """
    remove(path)
    descriptor = open_new(path)
    try:
        write(descriptor, data)
    finally:
        os.close(descriptor)


def publish(source: Path, final: Path) -> bool:
    """Make the finished file `source` appear as `final`, unless that exists. True if this call did it.

    `source` is flushed to disk before and gone after, whoever won; on an error it stays. `final` is durable on return,
    so what is written next (the marker) never outlives it. Without hard links: as in `create_file`.
    """
    _sync_file(source)
    make_directory(final.parent)
    published = _link_or_rename(source, final)
    sync_directory(final.parent)
    remove(source)
    return published


def move(source: Path, target: Path) -> None:
    """Rename, with the target's directory made when it is missing."""
    make_directory(target.parent)
    os.rename(source, target)
    sync_directory(target.parent)


def remove(path: Path) -> None:
    """Remove a file; one that is gone already is what was wanted."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def make_directory(path: Path) -> None:
    """Make a directory and its parents; one that is there already is what was wanted."""
    os.makedirs(path, exist_ok=True)


def list_directory(path: Path) -> list[str]:
    """The names in a directory, sorted; none if the directory does not exist (yet)."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def read_file(path: Path, offset: int = 0) -> bytes:
    """The bytes of a file from `offset` on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if offset:
            os.lseek(descriptor, offset, os.SEEK_SET)
        chunks = []
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def read_start(path: Path, num_bytes: int) -> bytes:
    """The first bytes of a file, `num_bytes` at most."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, num_bytes)
    finally:
        os.close(descriptor)


def remove_directory(path: Path) -> None:
    """Remove a directory unless something is in it; one that is gone already is what was wanted."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


def size_bytes(path: Path) -> int:
    """The size of a file, asked of the opened file: on NFS a bare `stat` may answer from a stale cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def identity(path: Path) -> tuple[int, ...]:
    """What tells a file from one that was renamed over it: equal answers, same file, without reading it again.

    Different answers prove nothing: some file systems number their files anew at will.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = os.fstat(descriptor)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    finally:
        os.close(descriptor)


def is_gone(error: OSError) -> bool:
    """Whether an error says that the file was removed: by name, or (on NFS) while it was open here."""
    return error.errno in (errno.ENOENT, errno.ESTALE)


def checksum(path: Path) -> Checksum:
    """The checksum of a file, read once."""
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    finally:
        os.close(descriptor)
    return size, digest.hexdigest()


def open_new(path: Path) -> int:
    """A descriptor for appending to a file that did not exist. Raises FileExistsError if it does."""
    make_directory(path.parent)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)


def open_append(path: Path) -> int:
    """A descriptor for appending to a file, made when it is missing."""
    make_directory(path.parent)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def ends_with_newline(descriptor: int) -> bool:
    """Whether a file opened by `open_append` is empty or ends with a whole line."""
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def write(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`, in one call to the kernel unless the kernel takes less."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync(descriptor: int) -> None:
    """Flush what was written to a descriptor to disk."""
    os.fsync(descriptor)


def close(descriptor: int) -> None:
    """Close a descriptor."""
    os.close(descriptor)


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = open_new(temporary)
    try:
        try:
            write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        remove(temporary)
        raise
    return temporary


def _link_or_rename(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
        return True
    except FileExistsError:
        # An NFS server may have done what its lost answer did not tell; the repeated request then finds our own link.
        return _same_file(source, target)
    except OSError as error:
        if error.errno not in _LINK_REFUSED:
            raise
    if os.path.lexists(target):
        return False
    inode = os.stat(source).st_ino
    os.rename(source, target)
    return os.stat(target).st_ino == inode


def _same_file(left: Path, right: Path) -> bool:
    try:
        return os.path.samestat(os.stat(left), os.stat(right))
    except FileNotFoundError:
        return False


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Flush the names in a directory to disk, where the file system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
