"""Stage `concepts`: the concept bank, normalised and written down once, so that every later job reads the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.ids import item_id
from sharding.marker import Counts, MarkerError, shard_marker
from sharding.plan import Plan, ShardRange
from sharding.table import TableError, inspect_table, write_table
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    from synthclip_hpc.run import Run

PROVENANCE = "concepts"
"""Key, in the provenance of the phase's marker, of where the concepts came from and how they were selected."""


def schema() -> Any:
    """Return the Parquet schema of a concept table: one row a concept, in the bank's order.

    `reject_reason` is `excluded` for a concept that no captions are written for, else null.
    """
    import pyarrow as pa

    return pa.schema([("concept_id", pa.uint64()), ("concept", pa.string()), ("reject_reason", pa.string())])


def layout(config: RunConfig, sources: Sources) -> Plan:
    """All concepts are one shard."""
    bank = sources.bank
    return Plan(
        stage="concepts",
        phase="read",
        kind="reduce",
        num_items=len(bank.concepts),
        shard_items=len(bank.concepts),
        suffix=".parquet",
        identity={
            "concepts.sha256": bank.sha256,
            "concepts.entries_read": bank.entries_read,
            "concepts.not_kept": bank.rejects,
            "concepts.excluded": len(bank.excluded),
        },
    )


def concept_ids(concepts: Sequence[str]) -> list[int]:
    """Return the 64-bit id of each concept; two concepts with one id are an error, never a silent merge."""
    ids = [item_id("concept", concept) for concept in concepts]
    if len(set(ids)) != len(ids):
        seen: dict[int, str] = {}
        for number, concept in zip(ids, concepts, strict=True):
            if number in seen:
                raise UserError(
                    f"concepts {seen[number]!r} and {concept!r} share the id {number}; leave out one of them"
                )
            seen[number] = concept
    return ids


@contextmanager
def open_reader(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that writes the concept table."""

    def process(task: ShardTask) -> None:
        bank = Sources(config).bank
        if bank.sha256 != plan.identity["concepts.sha256"]:
            raise UserError(
                f"concepts.bank={bank.name}: it, or concepts.exclude, changed while it was being read; submit again"
            )
        task.resumed(0)
        # Where the concepts came from is told and never compared: the same words from another file are the same bank.
        drawn = {"limit": config.concepts.limit, "sample": config.concepts.sample, "seed": config.seed}
        task.provenance = {**task.provenance, PROVENANCE: {**bank.provenance(), **drawn}}
        path = task.directory.staged_path(task.shard.index, task.attempt, plan.suffix)
        columns = {
            "concept_id": concept_ids(bank.concepts),
            "concept": bank.concepts,
            "reject_reason": bank.reject_reasons,
        }
        write_table(path, columns, schema().with_metadata({"concepts.sha256": bank.sha256}))
        task.publish(path, Counts.of(bank.reject_reasons))

    yield process


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the concepts of a finished table; TableError when they are not those of the plan."""
    import pyarrow.parquet as pq

    from synthclip_hpc.captioning.banks.bank import bank_hash

    counts = inspect_table(path, schema())
    ids, concepts, reasons = (column.to_pylist() for column in pq.read_table(path).columns)
    excluded = [concept for concept, reason in zip(concepts, reasons, strict=True) if reason is not None]
    if bank_hash(concepts, excluded) != plan.identity["concepts.sha256"] or ids != concept_ids(concepts):
        raise TableError(f"{path} does not hold the concepts of the plan")
    return counts


def told(run: Run) -> str | None:
    """Return one line on the bank of a run, such as `446 concepts from emoji`; None where no marker has it."""
    try:
        facts = shard_marker(run.phase("concepts", "read"), 0).provenance
    except (FileNotFoundError, MarkerError):
        return None
    summary = facts.get(PROVENANCE, {}).get("summary")
    return summary if isinstance(summary, str) else None


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a concept, measured on banks of 500 to 500,000 entries."""
    return Estimate((8, 40), (2e-6, 1e-5), "measured: 500,000 concepts in 2 s on one core")


PHASES = (
    Phase(
        stage="concepts",
        name="read",
        kind="reduce",
        upstream=lambda config: (),
        layout=layout,
        open=open_reader,
        inspect=inspect,
        estimate=estimate,
        promise=lambda config: "bytes",
        inline=True,
    ),
)
