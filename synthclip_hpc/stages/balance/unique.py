"""Phase `unique`: exact duplicates of a text removed over all captions; of each text the smallest caption id stays.

Items are ranges of the text-hash space; a task reads its own range of every file that `match` wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from synthclip_hpc.config import RunConfig
from synthclip_hpc.stages.balance.shared import (
    KEY,
    SUFFIX,
    facts_of,
    keep_pace,
    key_range,
    num_ranges,
    open_files,
    schema,
)
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

    from synthclip_hpc.run import Run


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One task a range of text hashes."""
    return Plan(
        stage="balance",
        phase="unique",
        kind="map",
        num_items=num_ranges(config, sources),
        shard_items=1,
        suffix=SUFFIX,
        identity={},
    )


@contextmanager
def open_ranges(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Map the files of `match`; yield the function that does one range."""
    import numpy as np
    import pyarrow as pa

    from sharding.exchange import merge_range, write_sorted

    with open_files(run, "match") as files:

        def process(task: ShardTask) -> None:
            task.resumed(0)
            table = merge_range(files, *key_range(task.shard.index, plan.num_items))
            first = is_first(table)
            path = task.directory.staged_path(task.shard.index, task.attempt, plan.suffix)
            facts = {"duplicates": str(table.num_rows - int(np.sum(first)))}
            kept = table.filter(pa.array(first)).replace_schema_metadata(facts)
            write_sorted(path, kept, KEY, ("caption", "caption_id"))
            keep_pace(task, table.num_rows, config.balance.items_per_s)
            task.publish(path, Counts(1, 1, 0, {}))

        yield process


def is_first(table: pyarrow.Table) -> np.ndarray:
    """Tell for each row, in order of (key, caption, caption id), whether its text is not that of the row before."""
    import numpy as np

    keys = table.column(KEY).to_numpy()
    first = np.ones(len(keys), dtype=bool)
    same_key = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    captions = table.column("caption")
    # Different texts with one hash are looked at as well: they are not duplicates.
    for row in same_key:
        first[row] = captions[row].as_py() != captions[row - 1].as_py()
    return first


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished file is whole."""
    from sharding.exchange import SortedFile, inspect_sorted

    inspect_sorted(path, schema())
    with SortedFile.open(path) as file:
        int(facts_of(file)["duplicates"])
    return Counts(1, 1, 0, {})


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a range of `balance.match_items` captions."""
    items = config.balance.match_items
    return Estimate((150.0 * items, 300.0 * items), (2e-6 * items, 8e-6 * items), "measured: one core")


PHASE = Phase(
    stage="balance",
    name="unique",
    kind="map",
    upstream=lambda config: (("balance", "match"),),
    layout=layout,
    open=open_ranges,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
)
