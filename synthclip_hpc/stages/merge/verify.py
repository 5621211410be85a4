"""Phase `verify`: every tar is read once, from end to end, and what the index needs of it is written down.

Items are tars: the run's render shards, then those of `merge.sources`. Nothing is copied or changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange, load_plan
from sharding.seal import Seal, load_seal
from sharding.table import TableError, inspect_table, write_arrow
from sharding.tar_scan import TarError, mapped
from synthclip_hpc.config import RunConfig
from synthclip_hpc.dataset.columns import verified_schema
from synthclip_hpc.dataset.contents import Contents, read_once
from synthclip_hpc.dataset.foreign_tar import read_foreign
from synthclip_hpc.dataset.own_tar import find_damage, read_own
from synthclip_hpc.dataset.sources import KEY, find_sources, numbered_tars
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.balance import cut
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources
from synthclip_hpc.stages.render_items import plan_recipe

if TYPE_CHECKING:
    from synthclip_hpc.dataset.sources import TarSource
    from synthclip_hpc.run import Run

SUFFIX = ".parquet"
TARS = b"tars"
"""Key of the tables' metadata: JSON, one {tar, source, samples, rejects, size_bytes, sha256} a tar."""


def num_own(config: RunConfig, sources: Sources) -> int:
    """Return how many tars the run renders; LayoutLater while that is not known."""
    return cut.layout(config, sources).num_shards


def layout(config: RunConfig, sources: Sources) -> Plan:
    """Tasks of `merge.task_shards` tars. Raises UserError for bad values and sources that are not there."""
    if config.merge.task_shards < 1:
        raise UserError(f"merge.task_shards={config.merge.task_shards}: wanted a whole number from 1")
    found = find_sources(config.merge.sources)
    own = num_own(config, sources)
    return Plan(
        stage="merge",
        phase="verify",
        kind="map",
        num_items=own + sum(len(source.tars) for source in found),
        shard_items=config.merge.task_shards,
        suffix=SUFFIX,
        identity={"own": own, "sources": [source.identity() for source in found]},
    )


@contextmanager
def open_verifier(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Look at the sources once for an attempt; yield the function that verifies the tars of one task."""
    seal, drawn = load_seal(run.phase("render", "draw")), load_plan(run.phase("render", "draw"))
    if seal is None or drawn is None or len(seal.shards) != plan.identity["own"]:
        raise UserError(f"merge/verify reads the sealed shards of render; run: resume run={run.path}")
    sources = planned_sources(config, plan)
    recipe = plan_recipe(drawn)
    others = {number: (source, tar) for number, source, tar in numbered_tars(len(seal.shards), sources)}
    with ThreadPoolExecutor(1, "hasher") as hasher:

        def process(task: ShardTask) -> None:
            task.resumed(0)
            parts: list[Any] = []
            known: list[dict[str, Any]] = []
            for number in range(task.shard.start, task.shard.stop):
                task.safe_point()
                if number in others:
                    contents = _verify_other(*others[number], number, hasher)
                else:
                    contents = _verify_own(run, seal, recipe, number, hasher)
                parts.append(to_table(contents))
                source = others[number][0].name if number in others else None
                known.append({"tar": number, "source": source} | _told(contents))
                task.progress(len(parts))
            _write(task, parts, known)
            task.publish(_path(task), Counts(len(parts), len(parts), 0, {}))

        yield process


def planned_sources(config: RunConfig, plan: Plan) -> list[TarSource]:
    """Find the sources again. Raises UserError when they are not those that `verify` was planned with."""
    sources = find_sources(config.merge.sources)
    if plan.identity["sources"] != [source.identity() for source in sources]:
        raise UserError(
            f"{KEY}={config.merge.sources}: its files have changed since the stage was planned; restore them, or start "
            "a new run with what is there"
        )
    return sources


def _verify_own(run: Run, seal: Seal, recipe: str, number: int, hasher: Executor) -> Contents:
    import pyarrow.parquet as pq

    path = run.phase("render", "draw").data_path(number, ".tar")
    rows = run.phase("balance", "cut").data_path(number, ".parquet")
    wanted = pq.read_table(rows, columns=["position", "caption_id", "caption"], memory_map=False, use_threads=False)
    entry = seal.shards[number]
    try:
        contents = read_once(path, lambda content: read_own(content, path, wanted, recipe, number), hasher)
        found = contents.found
        if contents.sha256 != entry.sha256:
            with mapped(path) as content:
                find_damage(content, path, wanted, recipe)
            raise TarError(path, 0, f"its sha256 is {contents.sha256}, it was sealed with {entry.sha256}")
        if (found.num_samples, found.num_rejects) != (entry.counts.done, entry.counts.rejected):
            told = f"{entry.counts.done} samples and {entry.counts.rejected} rejects"
            have = f"{found.num_samples} samples and {found.num_rejects} rejects"
            raise TarError(path, 0, f"{have}, its seal says {told}")
    except (TarError, FileNotFoundError) as error:
        raise UserError(
            f"render/draw, shard {number}: {error}. Reopen it: python -m synthclip_hpc.repair stage=render "
            f"run={run.path}, then: python -m synthclip_hpc.resume run={run.path}"
        ) from error
    return contents


def _verify_other(source: TarSource, path: Path, number: int, hasher: Executor) -> Contents:
    try:
        return read_once(path, lambda content: read_foreign(content, path, source.name, number), hasher)
    except (TarError, FileNotFoundError) as error:
        raise UserError(
            f"{KEY}, {source.folder}: {error}. Fetch or make this tar again; or, in a new run, leave it out"
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


def _path(task: ShardTask) -> Path:
    return task.directory.staged_path(task.shard.index, task.attempt, SUFFIX)


def _write(task: ShardTask, parts: list[Any], known: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    table = pa.concat_tables(parts)
    schema = verified_schema().with_metadata({TARS: json.dumps(known)})
    write_arrow(_path(task), table, schema)


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


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the tars of a finished output; TableError when they are not the task's."""
    inspect_table(path, verified_schema(), reject_column=None)
    _, known = read_verified(path)
    if [one["tar"] for one in known] != list(range(shard.start, shard.stop)):
        raise TableError(f"{path} does not speak of the tars {shard.start}..{shard.stop - 1}")
    return Counts(len(known), len(known), 0, {})


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a tar: reading and hashing it."""
    items = config.balance.shard_items
    return Estimate((30.0 * items, 80.0 * items), (1e-5 * items, 1e-3 * items), "measured: 22 kB a sample, one core")


def upstream(config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Return what is read: the images, and the captions they must be of."""
    return (("balance", "cut"), ("render", "draw"))


PHASE = Phase(
    stage="merge",
    name="verify",
    kind="map",
    upstream=upstream,
    layout=layout,
    open=open_verifier,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
    contiguous=True,
    made_again_with=(("render", "draw"),),
)
