"""What a data set's index tells of its tars and sources, read a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synthclip_hpc.dataset.columns import INDEX
from synthclip_hpc.dataset.index import DatasetIndex
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.chunks import Numbers


class Run(NamedTuple):
    """Neighbouring samples of one tar and one source."""

    source: str
    tar: int
    num_samples: int


def open_index(folder: Path) -> Any:
    """Open the index of a data set's folder as a ParquetFile. Raises UserError as DatasetIndex.open does."""
    import pyarrow.parquet as pq

    DatasetIndex.open(folder).close()
    return pq.ParquetFile(folder / INDEX, read_dictionary=["source"])


def read_group(file: Any, folder: Path, group: int, columns: list[str]) -> Any:
    """Return columns of a row group as an Arrow table. Raises UserError when it is damaged."""
    import pyarrow as pa

    try:
        return file.read_row_group(group, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        path = folder / INDEX
        raise UserError(f"{path} is damaged ({error}); compare it with `sha256sum -c checksums.sha256`") from error


def group_starts(file: Any) -> Numbers:
    """Return the row that each row group begins with and, behind them, the number of rows; int64 [groups + 1]."""
    metadata = file.metadata
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return np.cumsum([0, *sizes], dtype=np.int64)


def runs(file: Any, folder: Path) -> Iterator[Run]:
    """Yield the runs of an index in order: a tar each, or a part of one where it holds several sources."""
    open_run: Run | None = None
    for group in range(file.metadata.num_row_groups):
        table = read_group(file, folder, group, ["tar", "source"])
        tars = table.column("tar").to_numpy()
        source = table.column("source").combine_chunks()
        names, codes = source.dictionary.to_pylist(), source.indices.to_numpy()
        edges = np.flatnonzero((np.diff(tars) != 0) | (np.diff(codes) != 0)) + 1
        for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(tars)], strict=True):
            run = Run(names[codes[start]], int(tars[start]), stop - start)
            if open_run is not None and open_run[:2] == run[:2]:
                open_run = open_run._replace(num_samples=open_run.num_samples + run.num_samples)
                continue
            if open_run is not None:
                yield open_run
            open_run = run
    if open_run is not None:
        yield open_run
