"""Phase `count`: how many distinct captions name each concept of the bank. One task: it reads two columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from sharding.table import inspect_table, write_table
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.balance.accounting import DUPLICATE
from synthclip_hpc.stages.balance.shared import facts_of, match_lists, open_files
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    import numpy as np

    from synthclip_hpc.run import Run


def schema() -> Any:
    """Return the Parquet schema of the counts: one row a concept, in the bank's order."""
    import pyarrow as pa

    return pa.schema([("concept_id", pa.uint64()), ("concept", pa.string()), ("captions", pa.uint64())])


def layout(config: RunConfig, sources: Sources) -> Plan:
    """All concepts are one task."""
    concepts = len(sources.bank.concepts)
    return Plan(
        stage="balance",
        phase="count",
        kind="reduce",
        num_items=concepts,
        shard_items=concepts,
        suffix=".parquet",
        identity={},
    )


@contextmanager
def open_counter(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that counts."""
    import numpy as np
    import pyarrow.parquet as pq

    from synthclip_hpc.curation.matching import never_matching

    def process(task: ShardTask) -> None:
        task.resumed(0)
        concepts = pq.read_table(run.phase("concepts", "read").data_path(0, ".parquet"))
        matched = _matched(run)
        captions = np.zeros(concepts.num_rows, dtype=np.int64)
        usable = duplicates = 0
        with open_files(run, "unique") as files:
            for file in files:
                task.safe_point()
                _, entries = match_lists(file.rows(0, None))
                captions += np.bincount(entries, minlength=len(captions))
                usable += file.num_rows
                duplicates += int(facts_of(file)["duplicates"])
                file.forget()
        if matched.done != usable + duplicates:
            raise RuntimeError(
                f"balance/match wrote {matched.done} captions, balance/unique read {usable + duplicates}; run verify"
            )
        duplicates += matched.rejects.get(DUPLICATE, 0)
        path = task.directory.staged_path(0, task.attempt, plan.suffix)
        columns = {
            "concept_id": concepts.column("concept_id").to_pylist(),
            "concept": concepts.column("concept").to_pylist(),
            "captions": captions.tolist(),
        }
        if not usable:
            raise UserError(_nothing_usable(matched))
        never = never_matching(columns["concept"])
        facts = {"usable": str(usable), "duplicates": str(duplicates), "never_matching": str(len(never))}
        write_table(path, columns, schema().with_metadata(facts))
        task.publish(path, Counts(len(captions), len(captions), 0, {}))

    yield process


def _matched(run: Run) -> Counts:
    """Return the counts of all of `match`."""
    from sharding.seal import load_seal

    seal = load_seal(run.phase("balance", "match"))
    if seal is None:
        raise UserError(f"balance/match is not sealed; run: resume run={run.path}")
    return seal.counts


def _nothing_usable(matched: Counts) -> str:
    """Say why no caption is left to select from, by the rejects of `match`."""
    told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(matched.rejects.items())) or "there are none"
    return f"balance: no caption can be used ({told}); look at the captions and at the concept bank"


def read_counts(run: Run) -> tuple[np.ndarray, dict[str, int]]:
    """Return captions a concept (int64, in the bank's order), and the facts by name.

    `usable`: distinct captions to select from; `duplicates`: left out before, by
    `match` and `unique`; `never_matching`: concepts that no
    caption can name by MetaCLIP's rule, such as those with a mark inside.
    """
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(run.phase("balance", "count").data_path(0, ".parquet"), columns=["captions"])
    facts = {name.decode(): int(value) for name, value in table.schema.metadata.items() if name != b"ARROW:schema"}
    return table.column("captions").to_numpy().astype(np.int64), facts


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the concepts of a finished table."""
    return inspect_table(path, schema(), reject_column=None)


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a concept."""
    return Estimate((4, 12), (1e-5, 1e-4), "measured: 10 million captions in seconds")


PHASE = Phase(
    stage="balance",
    name="count",
    kind="reduce",
    upstream=lambda config: (("concepts", "read"), ("balance", "match"), ("balance", "unique")),
    layout=layout,
    open=open_counter,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
)
