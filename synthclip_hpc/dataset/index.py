"""Random access to a finished data set: `DatasetIndex.open("runs/mine/dataset")`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from synthclip_hpc.dataset.caption_ids import Ids, find_rows
from synthclip_hpc.dataset.columns import CAPTION_IDS, INDEX, SHARDS, index_schema, tar_name
from synthclip_hpc.dataset.index_file import GROUP_ROWS
from synthclip_hpc.dataset.tar_files import Sample, TarFiles
from synthclip_hpc.errors import UserError

_GROUPS = 32


class DatasetIndex:
    """The samples of a data set by number and by caption id.

    Keeps at most 32 row groups (about 3 MB each) and 64 open tars, whatever the size of the set. For one thread; a
    process that forks opens its own.
    """

    def __init__(self, folder: Path, file: Any, tar_path: Callable[[int], Path] | None = None) -> None:
        """Use `open`; this is for an index (an open ParquetFile) that is not in its folder yet."""
        self.folder = folder
        self._file = file
        self._groups: OrderedDict[int, Any] = OrderedDict()
        self._tars = TarFiles(tar_path or self.tar_path)

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
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
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
        return self._tars.sample(row)

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
        self._tars.close()

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
