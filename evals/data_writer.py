"""Writes a data set as a folder of WebDataset tars that CLIP_benchmark and `evals` read; put in place by one rename.

The bytes follow from the images, the class names and the number of samples a shard: members have no time and no owner.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evals.errors import EvalError
from evals.sources.samples import Sample, image_file


def write_split(folder: Path, split: str, samples: Sequence[Sample], samples_per_shard: int) -> None:
    """Write one split below `folder`. Raises EvalError for an image that is none, or has no caption."""
    place = folder / split
    place.mkdir()
    starts = range(0, len(samples), samples_per_shard)
    for shard, start in enumerate(starts):
        with tarfile.open(place / f"{shard}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, sample in enumerate(samples[start : start + samples_per_shard], start):
                _add_sample(tar, f"s{number:07d}", sample)
        print(f"{split}: shard {shard + 1} of {len(starts)}", file=sys.stderr)
    write_lines(place / "nshards.txt", [str(len(starts))])


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text, one line each."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@contextmanager
def put_in_place(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, which becomes `target` when all went well.

    What a killed attempt left is thrown away. Raises EvalError where another process is at it, or `target` is there.
    """
    part = target.with_name(f".{target.name}.part")
    handle = _locked(part)
    try:
        for left in part.iterdir():
            _remove(left)
        try:
            yield part
        except BaseException:
            shutil.rmtree(part)
            raise
        _sync(part)
        if target.exists():
            raise EvalError(f"{target}: appeared while it was being prepared; nothing was put in its place")
        part.rename(target)
        _sync_folder(target.parent)
    finally:
        os.close(handle)


def _locked(part: Path) -> int:
    """Return a handle of `part` that is locked against other processes for as long as it is open."""
    while True:
        part.mkdir(parents=True, exist_ok=True)
        handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise EvalError(f"{part}: another process is preparing this data set; wait for it, or end it") from None
        # Whoever had the lock may just have renamed the folder: then this is a lock on a finished data set.
        if part.exists() and part.stat().st_ino == os.fstat(handle).st_ino:
            return handle
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _add_sample(tar: tarfile.TarFile, key: str, sample: Sample) -> None:
    extension, content = image_file(sample)
    _add(tar, f"{key}.{extension}", content)
    if sample.captions is None:
        _add(tar, f"{key}.cls", str(sample.label).encode())
        return
    lines = [" ".join(caption.split()) for caption in sample.captions]
    if not all(lines) or not lines:
        raise EvalError(f"{sample.name}: no caption, or an empty one; mend the captions")
    _add(tar, f"{key}.txt", "\n".join(lines).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _with_handle(path, os.fsync)


def _sync_folder(folder: Path) -> None:
    _with_handle(folder, os.fsync)


def _with_handle(path: Path, act: Callable[[int], None]) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        act(handle)
    finally:
        os.close(handle)
