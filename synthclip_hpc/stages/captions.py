"""Stage `captions`: N captions for each concept, written by an engine (paper, section 3.1).

Items are laid out n-major: all concepts' first captions, then all second ones, so that a larger `captions.per_concept`
only appends shards. Excluded concepts keep their place: their captions are rows without one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from sharding.directory import PhaseDirectory
from sharding.ids import derive, item_id
from sharding.marker import Counts, Promise
from sharding.plan import Plan, ShardRange
from sharding.table import TableError, inspect_table, write_table
from synthclip_hpc.captioning.answers.answering import Answer, Item, answer_batch
from synthclip_hpc.captioning.registry import (
    check_engine,
    identity_of,
    is_template,
    model_column,
    open_engine,
    prompts_of,
    rules_of,
)
from synthclip_hpc.config import CaptionsConfig, RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.place import Place
from synthclip_hpc.stages.batches import run_batches
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    import pyarrow

    from synthclip_hpc.captioning.engines.engine import Engine
    from synthclip_hpc.captioning.models.find import ModelFiles
    from synthclip_hpc.run import Run


MAX_PER_CONCEPT = 2**31 - 1
"""What the column `n` (int32) can count."""


def schema() -> Any:
    """Return the Parquet schema of captions: one row an item; `caption` is null where `reject_reason` says why."""
    import pyarrow as pa

    return pa.schema(
        [
            ("caption_id", pa.uint64()),
            ("concept_id", pa.uint64()),
            ("concept", pa.string()),
            ("n", pa.int32()),
            ("caption", pa.string()),
            ("prompt", pa.string()),
            ("model", pa.string()),
            ("seed", pa.uint64()),
            ("num_tries", pa.int32()),
            ("reject_reason", pa.string()),
        ]
    )


def layout(config: RunConfig, sources: Sources) -> Plan:
    """Concepts times captions a concept, in shards of `captions.shard_items`."""
    captions = config.captions
    check_engine(captions)
    if captions.per_concept > MAX_PER_CONCEPT:
        raise UserError(f"captions.per_concept={captions.per_concept}: wanted at most {MAX_PER_CONCEPT}")
    bank = sources.bank
    return Plan(
        stage="captions",
        phase="write",
        kind="map",
        num_items=len(bank.concepts) * captions.per_concept,
        shard_items=captions.shard_items,
        suffix=".parquet",
        identity={
            "seed": config.seed,
            "concepts.sha256": bank.sha256,
            "concepts.count": len(bank.concepts),
            "captions.per_concept": captions.per_concept,
            "captions.batch_items": captions.batch_items,
            **identity_of(captions, sources.model, sources.prompts),
        },
    )


@contextmanager
def open_writer(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Load concepts and engines once for an attempt; yield the function that writes one shard with an idle engine."""
    from synthclip_hpc.captioning.models.find import local_path

    captions, sources = config.captions, Sources(config)
    prompts, rules, model = prompts_of(captions), rules_of(captions), sources.model
    _refuse_other_sources(plan, captions, identity_of(captions, model, prompts))
    if model is not None:
        model = dataclasses.replace(model, path=local_path(model))
    table = _read_concepts(run, plan)
    column = model_column(captions, model)
    idle: SimpleQueue[Engine] = SimpleQueue()

    def write(task: ShardTask) -> None:
        engine = idle.get()
        try:
            _write_shard(task, table, column, lambda items: answer_batch(engine, prompts, rules, items))
        finally:
            idle.put(engine)

    with _open_engines(captions, model) as engines:
        for engine in engines:
            idle.put(engine)
        yield write


@contextmanager
def _open_engines(config: CaptionsConfig, model: ModelFiles | None) -> Iterator[Sequence[Engine]]:
    """Open one engine in this process, or several in processes of their own; they are closed at the end."""
    if config.engines > 1:
        from synthclip_hpc.captioning.engines.engine_process import engines_side_by_side

        with engines_side_by_side(open_engine, config, model) as engines:
            yield engines
        return
    engine = open_engine(config, model)
    try:
        yield [engine]
    finally:
        engine.close()


def _refuse_other_sources(plan: Plan, config: CaptionsConfig, found: dict[str, Any]) -> None:
    """Raise UserError when model or prompt are not what was planned: their files may have changed since."""
    for key in ("captions.model.fingerprint", "captions.prompt.sha256"):
        if plan.identity.get(key) != found.get(key):
            named = config.prompt if "prompt" in key else config.model
            raise UserError(
                f"{key.rpartition('.')[0]}={named}: its files are not those of the plan (planned "
                f"{plan.identity.get(key)}, here {found.get(key)}); restore them, or start a new run with what is there"
            )


def _read_concepts(run: Run, plan: Plan) -> pyarrow.Table:
    import pyarrow.parquet as pq

    from synthclip_hpc.stages import concepts as concepts_stage

    table = pq.read_table(run.phase("concepts", "read").data_path(0, ".parquet"), schema=concepts_stage.schema())
    if table.num_rows != plan.identity["concepts.count"]:
        # No ValueError: whoever inspects captions must not take them for the damaged ones.
        raise RuntimeError(
            f"the concept table has {table.num_rows} rows, the plan {plan.identity['concepts.count']}; run verify"
        )
    return table


def _columns(plan: Plan, concepts: pyarrow.Table, shard: ShardRange) -> dict[str, list[Any]]:
    """Return what is known of a shard's captions before they are written."""
    run_seed = plan.identity["seed"]
    columns: dict[str, list[Any]] = {name: [] for name in ("caption_id", "concept_id", "concept", "n", "seed")}
    for concept_id, concept, n, _ in _items(concepts, shard.start, shard.stop):
        caption_id = item_id(concept, n)
        columns["caption_id"].append(caption_id)
        columns["concept_id"].append(concept_id)
        columns["concept"].append(concept)
        columns["n"].append(n)
        columns["seed"].append(derive(run_seed, caption_id, "caption"))
    return columns


def _write_shard(
    task: ShardTask, concepts: pyarrow.Table, model: str, answer: Callable[[Sequence[Item]], list[Answer]]
) -> None:
    columns = _columns(task.plan, concepts, task.shard)
    if len(set(columns["caption_id"])) != len(columns["caption_id"]):
        raise UserError(f"two captions of shard {task.shard.index} share an id; leave out one of their concepts")
    items = [Item(*one) for one in zip(columns["concept"], columns["seed"], strict=True)]
    excluded = [reason for *_, reason in _items(concepts, task.shard.start, task.shard.stop)]
    first = task.shard.start

    def make(start: int, stop: int) -> list[tuple[Any, ...]]:
        part = slice(start - first, stop - first)
        wanted = [item for item, reason in zip(items[part], excluded[part], strict=True) if reason is None]
        answers = iter(answer(wanted) if wanted else ())
        return [tuple(next(answers)) if reason is None else (None, None, 0, reason) for reason in excluded[part]]

    rows, log = run_batches(task, task.plan.identity["captions.batch_items"], make)
    captions, prompts, num_tries, reasons = zip(*rows, strict=True)
    path = task.directory.staged_path(task.shard.index, task.attempt, task.plan.suffix)
    write_table(
        path,
        {
            **columns,
            "caption": captions,
            "prompt": prompts,
            "model": [model] * len(rows),
            "num_tries": num_tries,
            "reject_reason": reasons,
        },
        schema().with_metadata({"concepts.sha256": task.plan.identity["concepts.sha256"]}),
    )
    task.publish(path, Counts.of(reasons))
    log.discard()


def _items(concepts: pyarrow.Table, start: int, stop: int) -> Iterator[tuple[int, str, int, str | None]]:
    """Yield (concept id, concept, n, why it gets no caption) of the items [start, stop), n-major."""
    count = concepts.num_rows
    while start < stop:
        n, offset = divmod(start, count)
        length = min(count - offset, stop - start)
        part = concepts.slice(offset, length)
        ids, names, reasons = (column.to_pylist() for column in part.columns)
        for concept_id, concept, reason in zip(ids, names, reasons, strict=True):
            yield concept_id, concept, n, reason and f"concept_{reason}"
        start += length


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the captions of a finished shard, rejects by reason; TableError for captions of another seed or shard."""
    import pyarrow.parquet as pq

    counts = inspect_table(path, schema())
    expected = _columns(plan, _read_concepts(run, plan), shard)
    table = pq.read_table(path, columns=["caption_id", "seed"])
    for name in ("caption_id", "seed"):
        if table.column(name).to_pylist() != expected[name]:
            raise TableError(
                f"{path} does not hold the captions of items {shard.start}..{shard.stop - 1}: "
                f"column {name!r} is not what the plan gives"
            )
    return counts


def check_place(config: RunConfig, place: Place) -> None:
    """Raise UserError when the engine could not be opened where the workers are going to run."""
    from synthclip_hpc.captioning import preflight

    sources = Sources(config)
    preflight.check_place(config.captions, place, sources.model, sources.prompts)


def promise(config: RunConfig) -> Promise:
    """Return `bytes` where a caption made again is the same: everywhere but on GPUs, whose kernels do not promise it.

    A language model on the CPU repeats its bytes with the same software, number of threads and CPU type.
    """
    captions = config.captions
    return "bytes" if is_template(captions) or captions.device == "cpu" else "items"


def check_unique(directory: PhaseDirectory, plan: Plan) -> None:
    """Raise ValueError when two captions of the whole phase share an id: a 64-bit collision, told and never merged.

    Reads one column of every shard; 30 million ids take 0.5 GB.
    """
    import numpy as np
    import pyarrow.parquet as pq

    ids = np.empty(plan.num_items, dtype=np.uint64)
    for index in range(plan.num_shards):
        shard = plan.shard(index)
        column = pq.read_table(directory.data_path(index, plan.suffix), columns=["caption_id"]).column(0)
        ids[shard.start : shard.stop] = column.to_numpy()
    ids.sort()
    same = np.flatnonzero(ids[1:] == ids[:-1])
    if same.size:
        raise UserError(
            f"captions/write: {same.size} caption ids occur twice, the first is {ids[same[0]]}; leave out its concept"
        )


def estimate(config: RunConfig) -> Estimate:
    """Return what one caption of the configured engine costs."""
    captions = config.captions
    if is_template(captions):
        pace = captions.template.items_per_s
        seconds = (1 / pace, 1 / pace) if pace else (1 / 150_000, 1 / 50_000)
        return Estimate((12, 60), seconds, "measured: template engine, one core")
    if captions.device == "cpu":
        return Estimate((40, 120), (1 / 8, 1), "measured: a model of 135 million parameters, one core")
    return Estimate((40, 120), (1 / 60, 1 / 6), "guessed: a model of 7 billion parameters, one GPU", device="GPU")


PHASES = (
    Phase(
        stage="captions",
        name="write",
        kind="map",
        upstream=(("concepts", "read"),),
        layout=layout,
        open=open_writer,
        inspect=inspect,
        estimate=estimate,
        promise=promise,
        lanes=lambda config: config.captions.engines,
        check_place=check_place,
        check_sealed=check_unique,
    ),
)
