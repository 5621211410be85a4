"""The last steps of a phase that makes the folder of a data set: its index and rejects written, the folder in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.marker import is_done
from synthclip_hpc.dataset import folder as dataset_folder
from synthclip_hpc.dataset.columns import INDEX, REJECTS, index_schema, rejects_schema
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.phase import ShardTaken

if TYPE_CHECKING:
    from synthclip_hpc.stages.phase import ShardTask

AddRejects = Callable[[Any], None]


def write_rows(
    task: ShardTask, staged: Path, index_path: Path, tables_of: Callable[[AddRejects], Iterable[Any]], nothing: str
) -> None:
    """Begin the folder `staged`; write the index at `index_path` and the rejects into the folder.

    `tables_of` is given what takes rejects, and yields the rows of the index. Raises UserError with `nothing` as its
    words when there are none.
    """
    from synthclip_hpc.dataset.index_file import RowWriter

    dataset_folder.begin(staged)
    with RowWriter(index_path, index_schema()) as rows, RowWriter(staged / REJECTS, rejects_schema()) as rejects:
        for table in tables_of(rejects.add):
            task.safe_point()
            rows.add(table)
    if not rows.num_rows:
        raise UserError(nothing)


def put_in_place(
    task: ShardTask, staged: Path, final: Path, tars: Iterable[dataset_folder.Tar], index_path: Path
) -> None:
    """Add tars, index and checksums to `staged`, and exchange it for `final` before the index is published.

    Raises ShardTaken when another attempt was faster: what is there then is its folder.
    """
    later = task.directory.data_path(task.shard.index, task.plan.suffix)
    dataset_folder.finish(staged, final, tars, {INDEX: (index_path, later)})
    task.safe_point()
    if is_done(task.directory, task.plan, task.shard.index):
        raise ShardTaken  # a faster attempt has put its own there, which tells of what is there now
    dataset_folder.exchange(staged, final, staged.with_name(f"old-{task.attempt}"))
