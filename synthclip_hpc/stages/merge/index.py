"""Phase `index`: one index over all tars, and the folder `dataset/` of the run.

The folder is put together beside its final name and renamed there before the index is published: whoever finds this
phase done finds the data set whole. Everything in it follows from what was verified, so a second attempt, after a kill
or beside another one, makes the same bytes.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.files import write_file
from sharding.marker import Counts
from sharding.plan import Plan, ShardRange, load_plan
from sharding.seal import load_seal
from synthclip_hpc.config import RunConfig
from synthclip_hpc.dataset import folder as dataset_folder
from synthclip_hpc.dataset.assembling import Assembled, assemble
from synthclip_hpc.dataset.card import write_card
from synthclip_hpc.dataset.columns import CAPTION_IDS, CARD, OWN_SOURCE, SHEET, index_schema
from synthclip_hpc.dataset.contact_sheet import contact_sheet, evenly
from synthclip_hpc.dataset.even import write_even
from synthclip_hpc.dataset.sources import numbered_tars
from synthclip_hpc.dataset.tar_files import TarFiles
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.assembled_folder import AddRejects, put_in_place, write_rows
from synthclip_hpc.stages.merge.card_facts import card_facts
from synthclip_hpc.stages.merge.verify import planned
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources
from synthclip_hpc.stages.verified_tars import SUFFIX, verified_tables

if TYPE_CHECKING:
    from sharding.directory import PhaseDirectory
    from synthclip_hpc.dataset.folder import Tar
    from synthclip_hpc.dataset.sources import TarSource
    from synthclip_hpc.run import Run

DATASET = "dataset"
"""Below the run directory."""
_SHOWN = 64
_USED = "used"
"""Beside tars that were written again: a data set has been made of them."""


def layout(config: RunConfig, sources: Sources) -> Plan:
    """One task for everything; `balance.shard_items` counts where the tars are written again."""
    even = {"merge.even": True, "balance.shard_items": config.balance.shard_items} if config.merge.even else {}
    return Plan(stage="merge", phase="index", kind="reduce", num_items=1, shard_items=1, suffix=SUFFIX, identity=even)


@contextmanager
def open_indexer(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Yield the function that makes the data set."""

    def process(task: ShardTask) -> None:
        task.resumed(0)
        # Below `partial`, which goes when the phase is sealed; the name is none of a shard's own work files.
        staged = task.directory.path / "partial" / f"dataset-{task.attempt}"
        index_path = task.directory.staged_path(0, task.attempt, SUFFIX)
        verified = _verify_plan(run)
        sources = planned(config, verified)
        assembled = Assembled()

        def tables_of(add_rejects: AddRejects) -> Iterator[Any]:
            read = verified_tables(run.phase("merge", "verify"), verified)
            tables = assemble(read, _paths(run, sources), sources, add_rejects, assembled)
            return _evened(tables, assembled, config, run, task) if config.merge.even else tables

        nothing = "merge: every image was rejected, so there is no data set; see the reasons with status"
        write_rows(task, staged, index_path, tables_of, nothing)
        _add_files(staged, index_path, assembled, sources, config, run)
        put_in_place(task, staged, run.path / DATASET, assembled.tars, index_path)
        if config.merge.even:
            write_file(_even_folder(task) / _USED, b"")
            _remove_earlier_even(task)
        task.publish(index_path, Counts(1, 1, 0, {}))

    yield process


def _verify_plan(run: Run) -> Plan:
    plan = load_plan(run.phase("merge", "verify"))
    if plan is None:
        raise UserError(f"merge/verify has no plan; run: resume run={run.path}")
    return plan


def _paths(run: Run, sources: list[TarSource]) -> Callable[[int], Path]:
    """Return the function from a tar's number in `verify` to its path."""
    own = load_plan(run.phase("render", "draw"))
    if own is None:
        raise UserError(f"render/draw has no plan; run: resume run={run.path}")
    others = {number: tar for number, _, tar in numbered_tars(own.num_shards, sources)}
    directory = run.phase("render", "draw")
    return lambda number: others[number] if number in others else directory.data_path(number, ".tar")


def _evened(tables: Iterator[Any], assembled: Assembled, config: RunConfig, run: Run, task: ShardTask) -> Iterator[Any]:
    """Write all samples again; yield the index rows of the new tars, which take the old ones' place in `assembled`."""
    cut = load_seal(run.phase("balance", "cut"))
    if cut is None:
        raise UserError(f"balance/cut is not sealed; run: resume run={run.path}")
    old: list[Tar] = assembled.tars
    new: list[Tar] = []
    files = TarFiles(lambda number: old[number].path)
    rows = itertools.chain.from_iterable(table.to_pylist() for table in tables)
    even = _even_folder(task)
    if (even / _USED).exists():
        shutil.rmtree(even)  # the phase was done, and is made again because something of it was bad
    try:
        for tar, table in write_even(
            rows, files, even, config.balance.shard_items, cut.counts.total, task.attempt, task.safe_point
        ):
            new.append(tar)
            yield table
    finally:
        files.close()
    assembled.tars = new


def _even_folder(task: ShardTask) -> Path:
    """Return where the tars that are written again lie: those of the same inputs alone may be taken as they are."""
    return task.directory.path / "even" / task.inputs_hash[:16]


def _remove_earlier_even(task: ShardTask) -> None:
    """Remove what was written again from other inputs, before a repair. The data set has links of its own by now."""
    current = _even_folder(task)
    for folder in current.parent.glob("*"):
        if folder != current:
            shutil.rmtree(folder, ignore_errors=True)


def _add_files(
    staged: Path, index_path: Path, assembled: Assembled, sources: list[TarSource], config: RunConfig, run: Run
) -> None:
    """Write card, contact sheet and the look-up by caption id."""
    import pyarrow.parquet as pq

    from synthclip_hpc.dataset.caption_ids import write_caption_ids
    from synthclip_hpc.dataset.index import DatasetIndex
    from synthclip_hpc.dataset.index_file import caption_ids

    num_ids = sum(len(ids) for ids, _ in caption_ids(index_path))
    write_caption_ids(staged / CAPTION_IDS, lambda: caption_ids(index_path), num_ids)
    with DatasetIndex(staged, pq.ParquetFile(index_path), lambda number: assembled.tars[number].path) as index:
        shown = [index.read(number) for number in evenly(len(index), _SHOWN)]
        record = json.loads(index.read(0).json or b"{}") if assembled.samples[OWN_SOURCE] else {}
    write_file(staged / SHEET, contact_sheet([(one.image, one.txt) for one in shown]))
    write_file(staged / CARD, write_card(card_facts(config, run, assembled, sources, record)))


def summary(directory: PhaseDirectory, plan: Plan) -> list[str]:
    """Return what a command tells of the finished stage."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(directory.data_path(0, plan.suffix)) as file:
        samples = file.metadata.num_rows
    place = directory.path.parent.parent / DATASET
    return [f"data set: {samples:,} samples in {place}", f"look at:  {place / SHEET}"]


def fault_of_dataset(run: Run) -> str | None:
    """Return what is wrong with the finished folder `dataset/`, None when it is whole."""
    return dataset_folder.fault(run.path / DATASET, with_tars=run.load_config().merge.even)


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Look whether a finished index is whole."""
    from synthclip_hpc.dataset.index_file import check_index

    check_index(path, index_schema())
    return Counts(1, 1, 0, {})


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of the one task."""
    if config.merge.even:
        return Estimate((1e6, 1e12), (10, 36000), "guessed: all images are written again")
    return Estimate((1e5, 5e9), (2, 600), "guessed from 30 million samples: 10 min")


def upstream(config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Return what is read; the coverage of the captions goes into the card."""
    return (("balance", "cut"), ("balance", "coverage"), ("render", "draw"), ("merge", "verify"))


PHASE = Phase(
    stage="merge",
    name="index",
    kind="reduce",
    upstream=upstream,
    layout=layout,
    open=open_indexer,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
    summary=summary,
    fault_beside=fault_of_dataset,
    made_again_with=(("render", "draw"),),
)
