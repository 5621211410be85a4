"""Tars that are read once, from end to end, and what an index needs of them: one table for each task of some tars.

What the phases that read tars share, of the run itself and from elsewhere. Nothing is copied or changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from sharding.table import TableError, inspect_table, write_arrow
from sharding.tar_scan import TarError
from synthclip_hpc.dataset.columns import verified_schema
from synthclip_hpc.dataset.contents import Contents, read_once
from synthclip_hpc.dataset.foreign_tar import read_foreign
from synthclip_hpc.dataset.sources import TarSource, find_sources
from synthclip_hpc.errors import UserError

if TYPE_CHECKING:
    from sharding.directory import PhaseDirectory
    from synthclip_hpc.stages.phase import ShardTask

SUFFIX = ".parquet"
TARS = b"tars"
"""Key of the tables' metadata: JSON, one {tar, source, samples, rejects, size_bytes, sha256} a tar."""


def planned_sources(text: str | None, key: str, plan: Plan, taken: Iterable[str] = ()) -> list[TarSource]:
    """Find the sources again. Raises UserError when they are not those of the plan's `sources`."""
    sources = find_sources(text, key, taken)
    if plan.identity["sources"] != [source.identity() for source in sources]:
        raise UserError(
            f"{key}={text}: its files have changed since the stage was planned; restore them, or start "
            "a new run with what is there"
        )
    return sources


def verify_tars(task: ShardTask, contents_of: Callable[[int], tuple[str | None, Contents]]) -> None:
    """Do one task: write the table of its tars and publish it.

    `contents_of` reads a tar by its number and returns its source (None: the run itself) and what it holds.
    """
    task.resumed(0)
    parts: list[Any] = []
    known: list[dict[str, Any]] = []
    for number in range(task.shard.start, task.shard.stop):
        task.safe_point()
        source, contents = contents_of(number)
        parts.append(to_table(contents))
        known.append({"tar": number, "source": source} | _told(contents))
        task.progress(len(parts))
    path = task.directory.staged_path(task.shard.index, task.attempt, SUFFIX)
    _write(path, parts, known)
    task.publish(path, Counts(len(parts), len(parts), 0, {}))


def verify_foreign(source: TarSource, path: Path, number: int, hasher: Executor, key: str) -> Contents:
    """Read a tar of a source that `key` names. Raises UserError when it is damaged or gone."""
    try:
        return read_once(path, lambda content: read_foreign(content, path, source.name, number), hasher)
    except (TarError, FileNotFoundError) as error:
        raise UserError(
            f"{key}, {source.folder}: {error}. Fetch or make this tar again; or, in a new run, leave it out"
        ) from error


def to_table(contents: Contents) -> Any:
    """Return the rows of a tar as an Arrow table of `verified_schema`."""
    import pyarrow as pa

    schema = verified_schema()
    found = contents.found
    num_rows = found.num_samples + found.num_rejects
    columns = {
        field.name: found.columns[field.name] if field.name in found.columns else pa.nulls(num_rows, field.type)
        for field in schema
    }
    return pa.Table.from_pydict(columns, schema=schema)


def _told(contents: Contents) -> dict[str, Any]:
    return {
        "samples": contents.found.num_samples,
        "rejects": contents.found.num_rejects,
        "size_bytes": contents.size_bytes,
        "sha256": contents.sha256,
    }


def _write(path: Path, parts: list[Any], known: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    table = pa.concat_tables(parts)
    schema = verified_schema().with_metadata({TARS: json.dumps(known)})
    write_arrow(path, table, schema)


def read_verified(path: Path) -> tuple[Any, list[dict[str, Any]]]:
    """Return the table of a task, and what is known of each of its tars. Raises TableError for a damaged file."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
        known = json.loads((table.schema.metadata or {})[TARS])
        if sum(one["samples"] + one["rejects"] for one in known) != table.num_rows:
            raise TableError(f"{path}: its rows are not those of its tars")
    except (KeyError, TypeError, OSError, ValueError) as error:
        raise TableError(f"{path} is damaged ({error}); run verify, then repair, then resume") from error
    return table, known


def verified_tables(directory: PhaseDirectory, plan: Plan) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Yield what `read_verified` returns of all tasks of a finished phase, in order."""
    for shard in range(plan.num_shards):
        yield read_verified(directory.data_path(shard, plan.suffix))


def inspect_verified(path: Path, shard: ShardRange) -> Counts:
    """Count the tars of a finished output; TableError when they are not the task's."""
    inspect_table(path, verified_schema(), reject_column=None)
    _, known = read_verified(path)
    if [one["tar"] for one in known] != list(range(shard.start, shard.stop)):
        raise TableError(f"{path} does not speak of the tars {shard.start}..{shard.stop - 1}")
    return Counts(len(known), len(known), 0, {})
