"""Phase `gather`: what `index` found becomes a data set of its own, `train/data/`: links to the tars, and one index.

A phase, and not the beginning of `fit`, so that no node with GPUs waits for it, and `verify` and `repair` know the
folder. It has one task where `train.data` names tars, else none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from synthclip_hpc.config import RunConfig
from synthclip_hpc.dataset import folder as dataset_folder
from synthclip_hpc.dataset.assembling import Assembled, assemble
from synthclip_hpc.dataset.columns import REJECTS, index_schema
from synthclip_hpc.stages.assembled_folder import AddRejects, put_in_place, write_rows
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources
from synthclip_hpc.stages.train.index import KEY, planned_tars
from synthclip_hpc.stages.verified_tars import SUFFIX, verified_tables
from synthclip_hpc.training import places

if TYPE_CHECKING:
    from sharding.directory import PhaseDirectory
    from synthclip_hpc.run import Run


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One task, or none; what it is made of is bound as an input."""
    wanted = config.train.data is not None and not places.is_indexed(config.train)
    return Plan(
        stage="train",
        phase="gather",
        kind="map",
        num_items=int(wanted),
        shard_items=1,
        suffix=SUFFIX,
        identity={},
    )


@contextmanager
def open_gatherer(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that makes the folder; two attempts at once make the same."""

    def process(task: ShardTask) -> None:
        task.resumed(0)
        # Below `partial`, which goes when the phase is sealed; the name is none of a shard's own work files.
        staged = task.directory.path / "partial" / f"data-{task.attempt}"
        index_path = task.directory.staged_path(0, task.attempt, SUFFIX)
        indexed, sources, tars = planned_tars(config, run)
        assembled = Assembled()

        def tables_of(add_rejects: AddRejects) -> Iterator[Any]:
            read = verified_tables(run.phase("train", "index"), indexed)
            return assemble(read, lambda number: tars[number][1], sources, add_rejects, assembled)

        nothing = (
            f"{KEY}={config.train.data}: none of its samples has an image that is whole and a caption, so there is "
            "nothing to train on; name other folders in a new run"
        )
        write_rows(task, staged, index_path, tables_of, nothing)
        put_in_place(task, staged, places.gathered_folder(run), assembled.tars, index_path)
        task.publish(index_path, Counts(1, 1, 0, {}))

    yield process


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished index is whole."""
    from synthclip_hpc.dataset.index_file import check_index

    check_index(path, index_schema())
    return Counts(1, 1, 0, {})


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of the one task."""
    return Estimate((1e5, 5e9), (2, 600), "guessed from 30 million samples: 10 min")


def summary(directory: PhaseDirectory, plan: Plan) -> list[str]:
    """Return what a command tells of the data."""
    import pyarrow.parquet as pq

    if not plan.num_shards:
        return []
    place = directory.path.parent / places.GATHERED
    with pq.ParquetFile(directory.data_path(0, plan.suffix)) as rows, pq.ParquetFile(place / REJECTS) as rejects:
        found, refused = rows.metadata.num_rows, rejects.metadata.num_rows
    why = f", {refused:,} are not usable (see {place / REJECTS})" if refused else ""
    return [f"data:    {found:,} samples in {place}{why}"]


PHASE = Phase(
    stage="train",
    name="gather",
    kind="map",
    upstream=lambda config: (("train", "index"),),
    layout=layout,
    open=open_gatherer,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
    summary=summary,
    fault_beside=lambda run: dataset_folder.fault(places.gathered_folder(run), with_tars=False),
    jobs_like="merge",
)
