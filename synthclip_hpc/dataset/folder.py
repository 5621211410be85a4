"""Putting the folder of a data set together beside the finished one, and exchanging the two at once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sharding.files import canonical_json, checksum, make_directory, sync_directory, write_file
from synthclip_hpc.dataset.columns import CHECKSUMS, SHARDS, SIZES, tar_name

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV}


class Tar(NamedTuple):
    """A tar of the data set; its number is its place in the list."""

    path: Path
    source: str
    num_samples: int
    """What a reader of the whole tar finds."""
    sha256: str


def link(target: Path, name: Path, will_be: Path) -> None:
    """Make `name` a hard link of the file `target`; where there can be none, a symbolic link.

    The symbolic link is relative where target and `will_be`, which `name` is renamed to with its folder, belong to one
    run, so that the run can be moved as a whole.
    """
    try:
        os.link(target, name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        run = will_be.parents[2] if will_be.parent.name == SHARDS else will_be.parents[1]
        inside = target.is_relative_to(run)
        name.symlink_to(os.path.relpath(target, will_be.parent) if inside else target)


def fill(staged: Path, final: Path, tars: Iterable[Tar], files: Mapping[str, bytes | tuple[Path, Path]]) -> None:
    """Make the new folder `staged`, which becomes `final`: links to the tars, sizes, further files, all checksums.

    Of `files` a name is given its content, or (the file to link, the path at which it will be found later).
    """
    shutil.rmtree(staged, ignore_errors=True)
    make_directory(staged / SHARDS)
    sums: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for number, tar in enumerate(tars):
        name = tar_name(number)
        link(tar.path, staged / SHARDS / name, final / SHARDS / name)
        sums[f"{SHARDS}/{name}"], sizes[name] = tar.sha256, tar.num_samples
    for name, content in {**files, f"{SHARDS}/{SIZES}": canonical_json(sizes)}.items():
        if isinstance(content, bytes):
            write_file(staged / name, content)
            sums[name] = checksum(staged / name)[1]
        else:
            made, later = content
            sums[name] = checksum(made)[1]
            try:
                os.link(made, staged / name)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                (staged / name).symlink_to(os.path.relpath(later, (final / name).parent))
    lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    write_file(staged / CHECKSUMS, lines.encode())
    _flush(staged)


def exchange(staged: Path, final: Path, aside: Path) -> None:
    """Rename `staged` to `final`; what stood there goes, by way of the free name `aside`.

    Killed in between it leaves the old folder, the new one, or for an instant none; never a mixture. A second process
    that does the same with the same content does no harm.
    """
    while True:
        try:
            os.rename(staged, final)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        try:
            os.rename(final, aside)
        except FileNotFoundError:
            continue
        shutil.rmtree(aside, ignore_errors=True)
    sync_directory(final.parent)


def _flush(folder: Path) -> None:
    """Flush to disk what was written here, before a name that others know leads to it."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            continue
        if path.is_dir():
            sync_directory(path)
        elif path.parent == folder or path.name == SIZES:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    sync_directory(folder)
