"""Phase `cut`: the balanced set in its final order: positions, and even shards for rendering.

The order is that of a keyed hash of the caption id, so it follows from the ids alone. A shard knows from `select` in
which buckets of that order its positions lie, and reads just these from each file that `score` wrote. Neighbouring
shards read neighbouring pages, so an element does a block of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from sharding.table import TableError, inspect_table, write_arrow
from synthclip_hpc.config import RunConfig
from synthclip_hpc.stages.balance.score import TAU
from synthclip_hpc.stages.balance.select import SUFFIX as SELECTION_SUFFIX
from synthclip_hpc.stages.balance.select import Selection, read_selection
from synthclip_hpc.stages.balance.settings import follows_from_configuration
from synthclip_hpc.stages.balance.shared import keep_pace, match_column, match_lists, open_files
from synthclip_hpc.stages.phase import Estimate, LayoutLater, Phase, ShardTask, Sources

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from sharding.exchange import SortedFile
    from synthclip_hpc.run import Run


def schema() -> Any:
    """Return the Parquet schema of the balanced set: one row a caption, in order of position."""
    import pyarrow as pa

    return pa.schema(
        [
            ("position", pa.uint64()),
            ("caption_id", pa.uint64()),
            ("concept_id", pa.uint64()),
            ("concept", pa.string()),
            ("n", pa.int32()),
            ("caption", pa.string()),
            ("source", pa.string()),
            ("matched_concept_ids", pa.list_(pa.uint64())),
        ]
    )


def layout(config: RunConfig, sources: Sources) -> Plan:
    """Shards of `balance.shard_items`; raises LayoutLater while the size is not known."""
    balance = config.balance
    if follows_from_configuration(balance):
        assert balance.target is not None
        num_items = balance.target
    else:
        selection = selection_of(sources.run)
        if selection is None:
            raise LayoutLater("balance/cut: how many captions are kept is known when balance/select has run")
        num_items = selection.num_kept
    return Plan(
        stage="balance",
        phase="cut",
        kind="map",
        num_items=num_items,
        shard_items=balance.shard_items,
        suffix=".parquet",
        identity={},
    )


def selection_of(run: Run | None) -> Selection | None:
    """Return what `select` came to in this run; None when it has not run."""
    from sharding.seal import load_seal

    if run is None or load_seal(run.phase("balance", "select")) is None:
        return None
    return read_selection(run.phase("balance", "select").data_path(0, SELECTION_SUFFIX))


@contextmanager
def open_cutter(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Read the selection once for an attempt; yield the function that writes one shard of the set."""
    import numpy as np
    import pyarrow.parquet as pq

    selection = read_selection(run.phase("balance", "select").data_path(0, SELECTION_SUFFIX))
    if selection.num_kept != plan.num_items:
        raise RuntimeError(f"{selection.num_kept} captions are selected, the plan has {plan.num_items}; run verify")
    ends = np.cumsum(selection.kept_by_bucket)
    concepts = pq.read_table(run.phase("concepts", "read").data_path(0, ".parquet"), columns=["concept_id"])
    concept_ids = concepts.column("concept_id").to_numpy()
    with open_files(run, "score") as files:

        def process(task: ShardTask) -> None:
            task.resumed(0)
            rows = _rows(files, selection, ends, task.shard)
            path = task.directory.staged_path(task.shard.index, task.attempt, plan.suffix)
            write_arrow(path, _positioned(rows, task.shard, concept_ids), schema())
            keep_pace(task, rows.num_rows, config.balance.items_per_s)
            task.publish(path, Counts(rows.num_rows, rows.num_rows, 0, {}))

        yield process


def _rows(files: Sequence[SortedFile], selection: Selection, ends: np.ndarray, shard: ShardRange) -> pa.Table:
    """Return the kept rows at the positions of a shard, in order.

    Rows that are not kept are neither copied nor sorted. So the memory is that of the shard's rows and of those that
    share its first and its last bucket, two copies of each, however many captions there were.
    """
    import numpy as np

    from sharding.exchange import merge_range
    from sharding.sorted_layout import key_range
    from synthclip_hpc.curation.selection import is_kept

    num_buckets = len(ends)
    first = int(np.searchsorted(ends, shard.start, side="right"))
    last = int(np.searchsorted(ends, shard.stop, side="left"))
    lo, _ = key_range(first, num_buckets)
    _, hi = key_range(last, num_buckets)

    def wanted(rows: pa.Table) -> np.ndarray:
        return is_kept(selection.cut, rows.column(TAU).to_numpy(), rows.column("caption_id").to_numpy())

    before = int(ends[first - 1]) if first else 0
    rows = merge_range(files, lo, hi, wanted).slice(shard.start - before, shard.stop - shard.start)
    if rows.num_rows != shard.stop - shard.start:
        raise RuntimeError(f"{rows.num_rows} captions for positions {shard.start}..{shard.stop - 1}; run verify")
    return rows


def _positioned(rows: pa.Table, shard: ShardRange, concept_ids: np.ndarray) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    offsets, entries = match_lists(rows)
    matched = match_column(offsets, pa.array(concept_ids[entries]))
    positions = pa.array(np.arange(shard.start, shard.stop, dtype=np.uint64))
    table = rows.add_column(0, "position", positions).append_column("matched_concept_ids", matched)
    return table.select(schema().names).cast(schema())


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the captions of a finished shard; TableError when its positions are not the shard's."""
    import numpy as np
    import pyarrow.parquet as pq

    counts = inspect_table(path, schema(), reject_column=None)
    positions = pq.read_table(path, columns=["position"]).column(0).to_numpy()
    if not np.array_equal(positions, np.arange(shard.start, shard.stop, dtype=np.uint64)):
        raise TableError(f"{path} does not hold the positions {shard.start}..{shard.stop - 1}")
    return counts


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a caption of the set."""
    return Estimate((40, 120), (5e-6, 5e-5), "measured: one core")


PHASE = Phase(
    stage="balance",
    name="cut",
    kind="map",
    upstream=lambda config: (("concepts", "read"), ("balance", "select"), ("balance", "score")),
    layout=layout,
    open=open_cutter,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
    contiguous=True,
)
