"""The captions of the balanced set as items to draw, and the tar of a shard as what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from sharding.tar_log import Kept
from sharding.tar_scan import Member, TarError, scan
from synthclip_hpc.rendering.samples import Item, check_item
from synthclip_hpc.stages.balance.cut import PHASE as CUT

if TYPE_CHECKING:
    from synthclip_hpc.run import Run

CUT_SUFFIX = ".parquet"
_KNOWN = [item.name for item in fields(Item) if item.name != "concepts"]
_MATCHED = "matched_concept_ids"
Reasons = tuple[str | None, ...]
"""Of each item, in order: why it was rejected; None where it has an image."""


def read_items(run: Run, shard: ShardRange) -> list[Item]:
    """Return the captions of one shard, in order of position. A render shard is a shard of the balanced set.

    Raises RuntimeError when the shard of the balanced set has other positions.
    """
    import pyarrow.parquet as pq

    path = run.phase(CUT.stage, CUT.name).data_path(shard.index, CUT_SUFFIX)
    table = pq.read_table(path, columns=[*_KNOWN, _MATCHED])
    names, matched = concept_names(run), table.column(_MATCHED).to_pylist()
    known: list[dict[str, Any]] = table.select(_KNOWN).to_pylist()
    items = [
        Item(**row, concepts=tuple(names[concept_id] for concept_id in ids))
        for row, ids in zip(known, matched, strict=True)
    ]
    if [item.position for item in items] != list(range(shard.start, shard.stop)):
        raise RuntimeError(f"{path} does not hold the positions {shard.start} to {shard.stop - 1}; run verify")
    return items


def concept_names(run: Run) -> dict[int, str]:
    """Return the names of the bank's concepts by id; read once, until the file changes."""
    path = run.phase("concepts", "read").data_path(0, ".parquet")
    stat = path.stat()
    return _read_names(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=1)
def _read_names(path: Path, state: tuple[int, int, int]) -> dict[int, str]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["concept_id", "concept"])
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def whole_batches(
    items: Sequence[Item], batch_items: int, recipe: str
) -> Callable[[bytes, list[Member]], Kept[Reasons]]:
    """Return what judges a partial tar of these items: how many leading batches are there, complete and right."""

    def judge(data: bytes, members: list[Member]) -> Kept[Reasons]:
        kept: Kept[Reasons] = Kept(0, 0, ())
        reasons: list[str | None] = []
        at = 0
        for number, item in enumerate(items, start=1):
            try:
                count, reason = check_item(item, data, members[at : at + 3], recipe)
            except ValueError:
                break  # torn, or made of something else: from here on it is made again
            at += count
            reasons.append(reason)
            if number % batch_items == 0 or number == len(items):
                kept = Kept(number, members[at - 1].end, tuple(reasons))
        return kept

    return judge


def inspect_tar(path: Path, items: Sequence[Item], recipe: str) -> Counts:
    """Count what became of the items of a finished shard. Raises TarError, a ValueError, when it is not theirs."""
    data = path.read_bytes()
    members = list(scan(data, path))
    reasons: list[str | None] = []
    at = 0
    for item in items:
        try:
            count, reason = check_item(item, data, members[at : at + 3], recipe)
        except ValueError as error:
            where = members[at].offset if at < len(members) else len(data)
            raise TarError(path, where, str(error)) from error
        at += count
        reasons.append(reason)
    if at < len(members):
        raise TarError(path, members[at].offset, f"{members[at].name} is no item of this shard")
    return Counts.of(reasons)


def plan_recipe(plan: Plan) -> str:
    """Return the recipe that a plan of `draw` binds."""
    return str(plan.identity["recipe"])
