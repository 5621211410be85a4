"""Captions in the tars of a WebDataset: of each sample its `.txt`, or the text `caption` of its `.json` without one.

A sample is what stands together under one key: the member's name up to the first dot after the last slash. Nothing is
extracted, and what is not a caption is passed over unread. Where the samples begin is counted once for each tar, which
takes a header of 512 bytes a member, and remembered.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synthclip_hpc.curation.source_files import Columns, index_key, refuse
from synthclip_hpc.remembered import remembered

MARK_ROWS = 1024
"""A range of samples is read from a mark on: this is the most whose headers are read in vain."""
_INDEX_VERSION = 1
_TEXT, _FACTS = "txt", "json"


@dataclass(frozen=True)
class TarFile:
    """A tar, and where in it its samples are."""

    path: Path
    num_rows: int
    """Samples, those without a caption included."""
    marks: tuple[int, ...]
    """Offset of the first member of every MARK_ROWS-th sample."""

    def read(self, start: int, stop: int) -> Columns:
        """Read the samples [start, stop). Raises UserError when the file is damaged or has changed."""
        import pyarrow as pa

        row = start // MARK_ROWS * MARK_ROWS
        texts: list[bytes | None] = []
        for sample in _samples(self.path, self.marks[start // MARK_ROWS], skip=start - row):
            if row >= start:
                texts.append(_caption(sample))
            row += 1
            if row == stop:
                break
        if len(texts) != stop - start:
            refuse(self.path, "has changed while it was being read; submit again")
        without = np.array([text is None for text in texts], dtype=bool)
        return Columns({"caption": pa.array(texts, pa.large_binary())}, without, "no_caption")


@dataclass
class _Sample:
    key: str
    offset: int
    """Of its first member's header."""
    members: dict[str, bytes | None] = field(default_factory=dict)
    """Extension -> content of `txt` and `json`, None where it was not asked for."""


def open_tar(path: Path) -> TarFile:
    """Count the samples of a tar, or remember their number. Raises UserError when it cannot be read."""

    def find() -> list[Any]:
        num_rows, marks = 0, []
        for sample in _samples(path, 0, skip=None):
            if num_rows % MARK_ROWS == 0:
                marks.append(sample.offset)
            num_rows += 1
        return [num_rows, marks]

    with _reading(path):
        num_rows, marks = remembered("tar-index", [_INDEX_VERSION, MARK_ROWS, index_key(path)], find)
    return TarFile(path, num_rows, tuple(marks))


def _caption(sample: _Sample) -> bytes | None:
    text = sample.members.get(_TEXT)
    if text is not None:
        # The line end that editors and `echo` leave is no part of a caption.
        return text.removesuffix(b"\n").removesuffix(b"\r")
    try:
        facts = json.loads(sample.members.get(_FACTS) or b"null")
    except ValueError:
        return None
    caption = facts.get("caption") if isinstance(facts, dict) else None
    # A lone surrogate, which JSON can spell, stays what it is: no UTF-8.
    return caption.encode("utf-8", "surrogatepass") if isinstance(caption, str) else None


def _samples(path: Path, offset: int, skip: int | None) -> Iterator[_Sample]:
    """Yield the samples from a header's offset on; of the first `skip` (None: of all) the headers alone are read."""
    sample: _Sample | None = None
    done = 0
    with _reading(path), path.open("rb") as stream:
        stream.seek(offset)
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps them all: 30,000 a tar
                key, extension = _split(member)
                if not extension:
                    continue
                # A key that has this member already begins another sample: nothing is written over.
                if sample is None or key != sample.key or extension in sample.members:
                    if sample is not None:
                        yield sample
                        done += 1
                    sample = _Sample(key, member.offset)
                wanted = skip is not None and done >= skip and extension in (_TEXT, _FACTS)
                content = tar.extractfile(member) if wanted else None
                sample.members[extension] = content.read() if content is not None else None
            # tarfile takes a header that is damaged or cut off for the end; a whole tar ends with blocks of zeros.
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                refuse(path, "is damaged or cut off: it does not end as a tar does; fetch or make it again")
    if sample is not None:
        yield sample


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError, EOFError) as error:
        refuse(path, f"cannot be read as a tar ({error}); fetch or make it again")


def _split(member: tarfile.TarInfo) -> tuple[str, str]:
    """Return (key, extension) of a member; no extension for one that belongs to no sample, such as a folder."""
    folder, slash, name = member.name.rpartition("/")
    stem, _, extension = name.partition(".")
    if not member.isfile() or not stem:
        return "", ""
    return f"{folder}{slash}{stem}", extension.lower()
