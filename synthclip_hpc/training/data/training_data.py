"""The data sets that are trained on, as one: where each of their samples lies."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from synthclip_hpc.dataset.columns import PARTS, SHARDS, tar_name
from synthclip_hpc.dataset.index import DatasetIndex
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.chunks import Numbers, SourceShards
from synthclip_hpc.training.data.index_scan import group_starts, open_index, read_group, runs

_GROUPS = 32
_PLACES = [f"{part}_{what}" for part in PARTS for what in ("offset", "size")]


class Places(NamedTuple):
    """Where neighbouring samples of one tar lie in it."""

    tar: Path
    rows: Numbers
    """[samples, 6]: offset and size in bytes of image, text and record; -1 for a part that a sample has not."""


class _Folder(NamedTuple):
    path: Path
    first: int
    """Number of its first sample."""
    stop: int


class _OpenIndex(NamedTuple):
    file: Any
    group_starts: Numbers


class TrainingData:
    """Samples by number, through one data set after the other. For one thread; `reopened` gives another its own.

    Opens an index when it is asked for a place, and keeps 32 row groups of places (under 1 MB each) at a time.
    """

    def __init__(self, folders: Sequence[_Folder], shards: Sequence[SourceShards]) -> None:
        """Use `open_training_data`."""
        self._folders, self._shards = list(folders), list(shards)
        self._open: dict[Path, _OpenIndex] = {}
        self._groups: OrderedDict[tuple[Path, int], tuple[Numbers, Numbers]] = OrderedDict()

    @property
    def num_samples(self) -> int:
        """Samples of all data sets."""
        return self._folders[-1].stop

    def shards(self) -> list[SourceShards]:
        """Return the sources and the sizes of their tars: what the order is made from."""
        return list(self._shards)

    def places(self, start: int, stop: int) -> Places:
        """Return where samples `start` to `stop - 1` lie, which must be of one tar.

        Raises IndexError for a number outside, UserError for a damaged index.
        """
        folder = self._folder(start)
        index = self._index(folder)
        start, stop = start - folder.first, stop - folder.first
        first = int(np.searchsorted(index.group_starts, start, side="right")) - 1
        last = int(np.searchsorted(index.group_starts, stop, side="left"))
        tars, rows = [], []
        for group in range(first, last):
            group_tars, group_rows = self._group(folder.path, index, group)
            inside = slice(max(start - int(index.group_starts[group]), 0), stop - int(index.group_starts[group]))
            tars.append(group_tars[inside])
            rows.append(group_rows[inside])
        return Places(folder.path / SHARDS / tar_name(int(tars[0][0])), np.concatenate(rows))

    def key(self, number: int) -> str:
        """Return what a message calls a sample: the tar's path and, behind a colon, the sample's key in it."""
        folder = self._folder(number)
        with DatasetIndex.open(folder.path) as index:
            row = index.rows([number - folder.first]).to_pylist()[0]
            return f"{index.tar_path(row['tar'])}: {row['key']}"

    def reopened(self) -> Self:
        """Return the same data with files of its own, for another process or thread."""
        return type(self)(self._folders, self._shards)

    def close(self) -> None:
        """Close all files."""
        self._groups.clear()
        while self._open:
            self._open.popitem()[1].file.close()

    def _folder(self, number: int) -> _Folder:
        for folder in self._folders:
            if folder.first <= number < folder.stop:
                return folder
        raise IndexError(f"sample {number} of {self.num_samples}")

    def _index(self, folder: _Folder) -> _OpenIndex:
        if folder.path not in self._open:
            file = open_index(folder.path)
            if file.metadata.num_rows != folder.stop - folder.first:
                file.close()
                raise UserError(f"{folder.path}: the data set changed while it is trained on; start the training anew")
            self._open[folder.path] = _OpenIndex(file, group_starts(file))
        return self._open[folder.path]

    def _group(self, path: Path, index: _OpenIndex, group: int) -> tuple[Numbers, Numbers]:
        key = (path, group)
        if key in self._groups:
            self._groups.move_to_end(key)
        else:
            table = read_group(index.file, path, group, ["tar", *_PLACES])
            columns = [table.column(name).fill_null(-1).to_numpy() for name in _PLACES]
            self._groups[key] = (table.column("tar").to_numpy(), np.stack(columns, axis=1))
            if len(self._groups) > _GROUPS:
                self._groups.popitem(last=False)
        return self._groups[key]


def open_training_data(folders: Sequence[Path]) -> TrainingData:
    """Open the data sets of these folders, one behind the other; all of each index is gone through once.

    A source whose name an earlier one has gets `-2` behind it, and so on. Raises UserError for a folder without an
    index, an index that is damaged or empty, and one whose samples are not in the order of its sources.
    """
    found: list[_Folder] = []
    shards: list[SourceShards] = []
    first = 0
    for folder in folders:
        begin = first
        file = open_index(folder)
        in_folder: set[str] = set()
        for name, parts in groupby(runs(file, folder), key=lambda run: run.source):
            if name in in_folder:
                raise UserError(f"{folder}: its samples are not in the order of their sources; merge the run again")
            in_folder.add(name)
            sizes = np.array([run.num_samples for run in parts], np.int64)
            shards.append(SourceShards(_distinct(name, {one.name for one in shards}), first, sizes))
            first += int(sizes.sum())
        file.close()
        if first == begin:
            raise UserError(f"{folder}: this data set has no samples; merge the run again, or leave it out")
        found.append(_Folder(folder, begin, first))
    return TrainingData(found, shards)


def _distinct(name: str, taken: set[str]) -> str:
    names = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(one for one in names if one not in taken)
