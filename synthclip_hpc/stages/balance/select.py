"""Phase `select`: the one threshold that gives the set its size, and how many captions it keeps where.

One task, which streams two columns of what `score` wrote. Its output is small and everything `cut` and the coverage
report need: the threshold, and kept captions in each bucket of the shuffled order.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.files import write_file
from sharding.marker import Counts
from sharding.plan import Plan, ShardRange
from sharding.table import TableError
from synthclip_hpc.config import BalanceConfig, RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.balance.advice import ways_out
from synthclip_hpc.stages.balance.ids import refuse_shared_ids
from synthclip_hpc.stages.balance.score import TAU
from synthclip_hpc.stages.balance.shared import KEY, num_captions, open_files
from synthclip_hpc.stages.balance.unmatched import refuse_only_unmatched
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    import numpy as np

    from sharding.exchange import SortedFile
    from synthclip_hpc.curation.selection import Cut
    from synthclip_hpc.run import Run

SUFFIX = ".npz"
_CHUNK_ROWS = 1 << 18
BUCKETS_PER_SHARD = 4
MAX_BUCKET_BITS = 24


@dataclass(frozen=True)
class Selection:
    """What was selected."""

    cut: Cut
    kept_by_bucket: np.ndarray
    """int64: kept captions in each of 2^k equal ranges of the shuffle key."""
    plan_hash: str
    """What it was selected by: the size wanted, among others, which the rest does not tell."""

    @property
    def num_kept(self) -> int:
        return int(self.kept_by_bucket.sum())


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One task for everything."""
    balance = config.balance
    return Plan(
        stage="balance",
        phase="select",
        kind="reduce",
        num_items=1,
        shard_items=1,
        suffix=SUFFIX,
        identity={
            "balance.target": balance.target,
            "balance.t": balance.t,
            "balance.mode": balance.mode,
            "balance.allow_short": balance.allow_short,
            "bucket_bits": bucket_bits(num_captions(config, sources), balance.shard_items),
        },
    )


def bucket_bits(captions: int, shard_items: int) -> int:
    """Return k for 2^k buckets: some for each output shard, so that a shard reads little more than its own rows."""
    shards = -(-captions // shard_items)
    return min(MAX_BUCKET_BITS, max(1, (BUCKETS_PER_SHARD * shards - 1).bit_length()))


@contextmanager
def open_selector(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that selects."""
    import numpy as np

    from synthclip_hpc.curation.selection import is_kept

    def process(task: ShardTask) -> None:
        task.resumed(0)
        with open_files(run, "score") as files:
            refuse_shared_ids(config, files, task.safe_point)
            cut = _choose_or_advise(task, run, config.balance, files)
            by_bucket = np.zeros(1 << plan.identity["bucket_bits"], dtype=np.int64)
            shift = np.uint64(64 - plan.identity["bucket_bits"])
            for chunk in _chunks(files):
                task.safe_point()
                kept = is_kept(cut, chunk.column(TAU).to_numpy(), chunk.column("caption_id").to_numpy())
                buckets = chunk.column(KEY).to_numpy()[kept] >> shift
                by_bucket += np.bincount(buckets.astype(np.int64), minlength=len(by_bucket))
        path = task.directory.staged_path(0, task.attempt, SUFFIX)
        _write(path, Selection(cut, by_bucket, task.plan.hash))
        task.publish(path, Counts(1, 1, 0, {}))

    yield process


def _choose_or_advise(task: ShardTask, run: Run, balance: BalanceConfig, files: Sequence[SortedFile]) -> Cut:
    from synthclip_hpc.curation.selection import TooFewCaptions

    try:
        return choose(balance, files)
    except TooFewCaptions as error:
        raise UserError(f"{error}. {ways_out(run, error.usable, task.provenance.get('submission'))}") from error


def choose(balance: BalanceConfig, files: Sequence[SortedFile]) -> Cut:
    """Return the threshold of the configuration. Raises UserError when there are fewer usable captions than wanted."""
    from synthclip_hpc.curation.selection import EVERYTHING, Cut, TooFewCaptions, find_cut

    if balance.target is None:
        return EVERYTHING if balance.t is None else Cut.up_to(balance.t)

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for chunk in _chunks(files):
            yield chunk.column(TAU).to_numpy(), chunk.column("caption_id").to_numpy()

    try:
        cut = find_cut(chunks, balance.target)
    except TooFewCaptions:
        if balance.allow_short:
            return EVERYTHING
        raise
    refuse_only_unmatched(balance, cut, chunks)
    return cut


def _chunks(files: Sequence[SortedFile]) -> Iterator[Any]:
    for file in files:
        table = file.rows(0, None)
        for start in range(0, table.num_rows, _CHUNK_ROWS):
            yield table.slice(start, _CHUNK_ROWS)
        file.forget()


def _write(path: Path, selection: Selection) -> None:
    import numpy as np

    buffer = io.BytesIO()
    # numpy gives every member of the archive the same fixed date, so equal arrays give equal bytes.
    np.savez(
        buffer,
        tau=np.float64(selection.cut.tau),
        caption_id=np.uint64(selection.cut.caption_id),
        kept_by_bucket=selection.kept_by_bucket,
        plan_hash=np.str_(selection.plan_hash),
    )
    write_file(path, buffer.getvalue())


def read_selection(path: Path) -> Selection:
    """Read what was selected. Raises UserError for a damaged file."""
    import numpy as np

    from synthclip_hpc.curation.selection import Cut

    try:
        with np.load(path, allow_pickle=False) as found:
            cut = Cut(float(found["tau"]), int(found["caption_id"]))
            plan_hash = str(found["plan_hash"]) if "plan_hash" in found else ""  # version 0.1.0 did not write it
            return Selection(cut, found["kept_by_bucket"], plan_hash)
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); run verify, then repair, then resume") from error


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished file is whole; TableError when another plan came to it, with another target, say."""
    found = read_selection(path).plan_hash
    if found != plan.hash:
        raise TableError(f"{path} was selected by plan {found or '(not told)'}, not by plan {plan.hash}")
    return Counts(1, 1, 0, {})


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of the one task."""
    return Estimate((1e5, 1e7), (1, 600), "guessed from 10 million captions: 10 s")


PHASE = Phase(
    stage="balance",
    name="select",
    kind="reduce",
    upstream=lambda config: (("balance", "count"), ("balance", "score")),
    layout=layout,
    open=open_selector,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
)
