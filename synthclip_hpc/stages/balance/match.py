"""Phase `match`: which concepts of the bank each caption names, by MetaCLIP's rule; written sorted by text.

Items are the captions that come in. Those without a text, those that name no concept, and those whose text comes twice
in one task, are counted rejects: what is dropped here nobody has to exchange.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sharding.ids import item_id
from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.balance.accounting import DUPLICATE
from synthclip_hpc.stages.balance.inputs import open_captions
from synthclip_hpc.stages.balance.settings import check_settings, source_identity
from synthclip_hpc.stages.balance.shared import (
    KEY,
    PLAN,
    SUFFIX,
    TIES,
    check_made_by,
    facts_of,
    keep_pace,
    match_column,
    num_captions,
    schema,
    without_repeats,
)
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    import pyarrow as pa

    from synthclip_hpc.curation.matching import Matcher
    from synthclip_hpc.run import Run

NO_MATCH = "no_match"


def layout(config: RunConfig, sources: Sources) -> Plan:
    """Captions in tasks of `balance.match_items`."""
    check_settings(config.balance)
    captions = num_captions(config, sources)
    balance = config.balance
    if balance.target is not None and balance.target > captions and not balance.allow_short:
        raise UserError(
            f"balance.target={balance.target}: only {captions:,} captions come in; use at most so many, ask for more "
            "(captions.per_concept), or take what there is with balance.allow_short=true"
        )
    return Plan(
        stage="balance",
        phase="match",
        kind="map",
        num_items=captions,
        shard_items=config.balance.match_items,
        suffix=SUFFIX,
        identity={
            "concepts.sha256": sources.bank.sha256,
            "balance.case": config.balance.case,
            "balance.keep_unmatched": config.balance.keep_unmatched,
            **source_identity(config, sources),
        },
    )


@contextmanager
def open_matcher(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Build the index of the bank once for an attempt; yield the function that matches one range of captions."""
    import pyarrow.parquet as pq

    from synthclip_hpc.curation.matching import Matcher

    table = pq.read_table(run.phase("concepts", "read").data_path(0, ".parquet"), columns=["concept", "reject_reason"])
    matcher = Matcher(findable(*(column.to_pylist() for column in table.columns)), config.balance.case)
    read = open_captions(config, run, plan)
    balance = config.balance
    yield lambda task: _match(task, matcher, read, balance.keep_unmatched, balance.items_per_s)


def findable(concepts: Sequence[str], reject_reasons: Sequence[str | None]) -> list[str]:
    """Return the entries to look for: excluded ones keep their place as what no caption can hold, a line break."""
    return [concept if reason is None else "\n" for concept, reason in zip(concepts, reject_reasons, strict=True)]


def _match(
    task: ShardTask,
    matcher: Matcher,
    read: Callable[[int, int], tuple[pa.Table, Counter[str]]],
    keep_unmatched: bool,
    items_per_s: float,
) -> None:
    import numpy as np
    import pyarrow as pa

    from sharding.exchange import write_sorted
    from sharding.sorting import sort_rows

    task.resumed(0)
    captions, rejects = read(task.shard.start, task.shard.stop)
    task.safe_point()
    texts = captions.column("caption").to_pylist()
    offsets, entries = matcher.match(texts)
    keys = np.fromiter((item_id("text", text) for text in texts), dtype=np.uint64, count=len(texts))
    matches = match_column(offsets, pa.array(entries))
    table = captions.append_column("matches", matches).add_column(0, KEY, pa.array(keys))
    if not keep_unmatched:
        named = np.diff(offsets) > 0
        rejects[NO_MATCH] += int(len(texts) - named.sum())
        table = table.filter(pa.array(named))
    ordered = sort_rows(table.select(schema().names).cast(schema()), KEY, TIES)
    table, rejects[DUPLICATE] = without_repeats(pa.Table.from_batches([ordered]))
    path = task.directory.staged_path(task.shard.index, task.attempt, task.plan.suffix)
    counted = {reason: rejects[reason] for reason in sorted(rejects) if rejects[reason]}
    facts = {PLAN: task.plan.hash, "rejects": json.dumps(counted)}
    write_sorted(path, table.replace_schema_metadata(facts), KEY, TIES, in_order=True)
    keep_pace(task, task.shard.stop - task.shard.start, items_per_s)
    task.publish(path, _counts(table.num_rows, counted))


def _counts(done: int, rejects: dict[str, int]) -> Counts:
    rejected = sum(rejects.values())
    return Counts(done + rejected, done, rejected, rejects)


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the captions of a finished file and those it says were left out; TableError when another plan made it."""
    from sharding.exchange import SortedFile, inspect_sorted

    done = inspect_sorted(path, schema())
    with SortedFile.open(path) as file:
        check_made_by(plan, file)
        rejects: dict[str, int] = json.loads(facts_of(file)["rejects"])
    return _counts(done, rejects)


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a caption, measured with 500,000 concepts and 13 matches a caption."""
    return Estimate((150, 300), (8e-6, 2e-5), "measured: 500,000 concepts, real captions, one core")


PHASE = Phase(
    stage="balance",
    name="match",
    kind="map",
    upstream=lambda config: (
        (("concepts", "read"),) if config.balance.source else (("concepts", "read"), ("captions", "write"))
    ),
    layout=layout,
    open=open_matcher,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
    # A packed file of captions can only be unpacked forwards: with a block an element reads each file once, and few.
    contiguous=True,
)
