"""Putting the folder of a data set together beside the finished one, and exchanging the two at once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sharding.canonical import canonical_json
from sharding.files import checksum, make_directory, sync_directory, write_file
from synthclip_hpc.dataset.columns import CHECKSUMS, SHARDS, SIZES, tar_name

SIZES_PATH = f"{SHARDS}/{SIZES}"
# What a file system answers that has no hard links, or none from there to here.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV}


class Tar(NamedTuple):
    """A tar of the data set; its number is its place in the list."""

    path: Path
    source: str
    num_samples: int
    """What a reader of the whole tar finds."""
    sha256: str


def link(target: Path, name: Path, will_be: Path, later: Path | None = None) -> None:
    """Make `name`, which is renamed to `will_be` with its folder, a hard link of the file `target`.

    Where there can be none it becomes a symbolic link to `later` (default: the target): a relative one, so that a run
    can be moved or copied as a whole. A target that is a link itself, as in the snapshots of a hub's cache, stands for
    the file at its end.
    """
    try:
        os.link(os.path.realpath(target), name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Real paths: `..` leads from where a folder lies, not from where a link to it does.
        name.symlink_to(os.path.relpath(os.path.realpath(later or target), os.path.realpath(will_be.parent)))


def begin(staged: Path) -> None:
    """Make the new folder, empty but for the folder of its tars."""
    shutil.rmtree(staged, ignore_errors=True)
    make_directory(staged / SHARDS)


def finish(staged: Path, final: Path, tars: Iterable[Tar], links: Mapping[str, tuple[Path, Path]]) -> None:
    """Add to the folder what is linked, and the checksums of all that is in it then; it becomes `final` later.

    `links`: name -> (the file, the path at which it will be found later). Durable on return.
    """
    sums: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for number, tar in enumerate(tars):
        name = tar_name(number)
        link(tar.path, staged / SHARDS / name, final / SHARDS / name)
        sums[f"{SHARDS}/{name}"], sizes[name] = tar.sha256, tar.num_samples
    write_file(staged / SHARDS / SIZES, canonical_json(sizes))
    own = [SIZES_PATH, *(path.name for path in staged.iterdir() if path.is_file())]
    sums |= {name: checksum(staged / name)[1] for name in own}
    for name, (made, later) in links.items():
        link(made, staged / name, final / name, later)
        sums[name] = checksum(made)[1]
    write_file(staged / CHECKSUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode())
    for name in (*own, CHECKSUMS):
        _flush(staged / name)
    sync_directory(staged / SHARDS)
    sync_directory(staged)


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


def fault(folder: Path, *, with_tars: bool) -> str | None:
    """Return what a finished folder lacks, or which file is not as it was written; None when it is whole.

    Without `with_tars` the tars need only be there: links to files whose bytes are looked at where they were made.
    """
    try:
        lines = (folder / CHECKSUMS).read_text().splitlines()
    except FileNotFoundError:
        return f"{folder} has no {CHECKSUMS}: the data set is gone, or in part"
    sums = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    if missing := [name for name in sums if not (folder / name).is_file()]:
        return f"{folder} lacks {len(missing)} of {len(sums)} files, the first is {missing[0]}"
    own = (name for name in sums if with_tars or not name.endswith(".tar"))
    if changed := [name for name in own if checksum(folder / name)[1] != sums[name]]:
        return f"{folder / changed[0]} is not as it was written"
    return None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
