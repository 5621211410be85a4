"""The captions that come in: the run's own, or any caption table (`balance.source`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from sharding.plan import Plan, load_plan
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.balance.shared import KEY, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from synthclip_hpc.config import RunConfig
    from synthclip_hpc.run import Run

Reader = Callable[[int, int], "tuple[pa.Table, Counter[str]]"]
"""(first, after the last) caption -> the table of those with a text, and why the others have none."""

RUN_SOURCE = "captions"
"""What the column `source` says of the run's own captions."""


def open_captions(config: RunConfig, run: Run, plan: Plan) -> Reader:
    """Return the function that reads a range of captions. Raises UserError when `balance.source` is not the plan's."""
    if config.balance.source is None:
        return _run_reader(run)
    from synthclip_hpc.curation.sources import find_source

    source = find_source(config.balance.source)
    planned = plan.identity["balance.source.fingerprint"]
    if source.fingerprint != planned:
        raise UserError(
            f"balance.source={source.path}: its files have changed since the stage was planned (planned {planned}, now "
            f"{source.fingerprint}); restore them, or start a new run with what is there"
        )
    return source.read


def _run_reader(run: Run) -> Reader:
    directory = run.phase("captions", "write")
    plan = load_plan(directory)
    if plan is None:
        raise UserError(f"captions/write has no plan; run: resume run={run.path}")
    names = [name for name in schema().names if name not in (KEY, "source", "matches")]

    def read(start: int, stop: int) -> tuple[pa.Table, Counter[str]]:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        parts = []
        for index in range(start // plan.shard_items, -(-stop // plan.shard_items)):
            shard = plan.shard(index)
            part = pq.read_table(directory.data_path(index, plan.suffix), columns=[*names, "reject_reason"])
            parts.append(part.slice(max(0, start - shard.start), min(stop, shard.stop) - max(start, shard.start)))
        table = pa.concat_tables(parts)
        reasons = table.column("reject_reason")
        rejects = Counter(f"caption_{reason}" for reason in reasons.drop_null().to_pylist())
        kept = table.filter(pc.is_null(reasons)).select(names).combine_chunks()
        return kept.append_column("source", pa.array([RUN_SOURCE] * kept.num_rows, pa.string())), rejects

    return read
