"""Random access to a finished data set: `DatasetIndex.open("runs/mine/dataset")`."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from synthclip_hpc.dataset.caption_ids import Ids, find_rows
from synthclip_hpc.dataset.columns import CAPTION_IDS, INDEX, SHARDS, index_schema, tar_name
from synthclip_hpc.dataset.foreign_tar import caption_of
from synthclip_hpc.dataset.index_file import GROUP_ROWS
from synthclip_hpc.errors import UserError

_GROUPS, _TARS = 32, 64


class Sample(NamedTuple):
    """One pair of an image and its caption."""

    key: str
    """Unique in its tar."""
    image: bytes
    """Encoded; for the run's own images a JPEG."""
    txt: str
    """The caption: the tar's `.txt`, else `caption` of its `.json`."""
    json: bytes | None
    """The record as it stands in the tar; None where a sample of another source has none."""


class DatasetIndex:
    """The samples of a data set by number and by caption id.

    Keeps at most 32 row groups (about 3 MB each) and 64 open tars, whatever the size of the set. For one thread; a
    process that forks opens its own.
    """

    def __init__(self, folder: Path, file: Any) -> None:
        """Use `open`."""
        self.folder = folder
        self._file = file
        self._groups: OrderedDict[int, Any] = OrderedDict()
        self._tars: OrderedDict[int, int] = OrderedDict()

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open the index of a data set's folder. Raises UserError when there is none, or it is damaged or newer."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(folder) / INDEX
        try:
            file = pq.ParquetFile(path)
        except FileNotFoundError as error:
            raise UserError(f"{path}: no index here; name the folder `dataset` of a run that is merged") from error
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path} is damaged ({error}); compare it with `sha256sum -c checksums.sha256`") from error
        if missing := set(index_schema().names) - set(file.schema_arrow.names):
            file.close()
            raise UserError(f"{path}: lacks the columns {', '.join(sorted(missing))}; merge the run again")
        return cls(Path(folder), file)

    def __len__(self) -> int:
        num_rows: int = self._file.metadata.num_rows
        return num_rows

    def rows(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> Any:
        """Return the rows of these numbers as an Arrow table of `columns.index_schema`, in their order.

        Each row group is decoded once, whatever the order. Raises IndexError for a number outside.
        """
        import pyarrow as pa

        wanted = np.asarray(numbers, np.int64)
        if len(wanted) and not (0 <= wanted.min() and wanted.max() < len(self)):
            raise IndexError(f"sample {wanted.min()}..{wanted.max()} of a data set of {len(self)}")
        order = np.argsort(wanted, kind="stable")
        groups, inside = np.divmod(wanted[order], GROUP_ROWS)
        parts = [self._group(int(one)).take(pa.array(inside[groups == one])) for one in np.unique(groups)]
        if not parts:
            return index_schema().empty_table()
        back = np.empty(len(wanted), np.int64)
        back[order] = np.arange(len(wanted))
        return pa.concat_tables(parts).take(pa.array(back))

    def read(self, number: int) -> Sample:
        """Return a sample by its number, 0 to `len(index) - 1`, in the order of the data set.

        Raises IndexError for a number outside, UserError for a tar that is gone or too short.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of a data set of {len(self)}")
        group, inside = divmod(number, GROUP_ROWS)
        row = self._group(group).slice(inside, 1).to_pylist()[0]
        return self.read_row(row)

    def read_row(self, row: dict[str, Any]) -> Sample:
        """Return the sample that a row of the index tells of."""
        import json

        image, text, record = (self._part(row, part) for part in ("image", "txt", "json"))
        assert image is not None
        caption = caption_of(text, json.loads(record) if text is None and record is not None else None)
        return Sample(row["key"], image, text.decode() if text is not None else caption or "", record)

    def by_caption_id(self, caption_id: int) -> Sample:
        """Return the first sample of a caption id. Raises KeyError when there is none."""
        row = int(self.find([caption_id])[0])
        if row < 0:
            raise KeyError(caption_id)
        return self.read(row)

    def find(self, caption_ids: Sequence[int] | Ids) -> npt.NDArray[np.int64]:
        """Return the number of the first sample of each caption id, -1 where there is none.

        Searches a sorted, mapped file: 1,000 ids among 30 million touch some thousands of its pages. What the index
        tells of the samples (tar, offsets, recipe, seed) is `rows` of the numbers from 0 on.
        """
        return find_rows(self._lookup, np.asarray(caption_ids, np.uint64))

    def tar_path(self, number: int) -> Path:
        """Return the path of a tar by the number that the index gives it."""
        return self.folder / SHARDS / tar_name(number)

    def close(self) -> None:
        """Close all files."""
        self._file.close()
        while self._tars:
            os.close(self._tars.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _lookup(self) -> Ids:
        path = self.folder / CAPTION_IDS
        try:
            lookup: Ids = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path}: missing or damaged ({error}); merge the run again") from error
        return lookup

    def _group(self, number: int) -> Any:
        if number in self._groups:
            self._groups.move_to_end(number)
        else:
            self._groups[number] = self._file.read_row_group(number, use_threads=False)
            if len(self._groups) > _GROUPS:
                self._groups.popitem(last=False)
        return self._groups[number]

    def _part(self, row: dict[str, Any], part: str) -> bytes | None:
        offset, size, number = row[f"{part}_offset"], row[f"{part}_size"], row["tar"]
        if offset is None:
            return None
        if number in self._tars:
            self._tars.move_to_end(number)
        else:
            try:
                self._tars[number] = os.open(self.tar_path(number), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise UserError(f"{self.tar_path(number)}: not there, the index counts on it; merge again") from error
            if len(self._tars) > _TARS:
                os.close(self._tars.popitem(last=False)[1])
        data = os.pread(self._tars[number], size, offset)
        if len(data) != size:
            raise UserError(f"{self.tar_path(number)}, byte {offset}: {row['key']} is cut off; fetch or make it again")
        return data
