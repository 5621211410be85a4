"""Stage `captions`: N captions for each concept, written by an engine (paper, section 3.1).

Items are laid out n-major: all concepts' first captions, then all second ones, so that a larger `captions.per_concept`
only appends shards. Excluded concepts keep their place: their captions are rows without one, and the batches that they
are in get smaller and stay the same otherwise.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.drift import differences, explain
from sharding.marker import Counts, Promise
from sharding.plan import Plan, ShardRange
from sharding.table import TableError, inspect_table, write_table
from synthclip_hpc.captioning.answers.answering import Answer, Item, answer_batch
from synthclip_hpc.captioning.registry import (
    check_engine,
    check_prompts,
    identity_of,
    is_template,
    model_column,
    open_engine,
    prompts_of,
    rules_of,
    uses_model,
)
from synthclip_hpc.config import CaptionsConfig, RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.place import Place
from synthclip_hpc.stages.batches import run_batches
from synthclip_hpc.stages.caption_items import items_of, known_columns, read_concepts
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources

if TYPE_CHECKING:
    import pyarrow

    from synthclip_hpc.captioning.engines.engine import Engine
    from synthclip_hpc.captioning.models.find import ModelFiles
    from synthclip_hpc.run import Run


MAX_PER_CONCEPT = 2**31 - 1
"""What the column `n` (int32) can count."""
PROVENANCE = "model"
"""Key, in the provenance of a marker, of the language model that wrote the shard's captions."""
_LAID_OUT = frozenset({"seed", "concepts.sha256", "concepts.count", "captions.per_concept", "captions.batch_items"})
"""What a plan has besides what `identity_of` tells of engine, model, prompts and rules."""


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
    check_prompts(captions, sources.prompts)
    if captions.per_concept > MAX_PER_CONCEPT:
        raise UserError(f"captions.per_concept={captions.per_concept}: wanted at most {MAX_PER_CONCEPT}")
    bank = sources.bank
    return Plan(
        stage="captions",
        phase="write",
        kind="map",
        num_items=sources.num_captions,
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
    _refuse_another_plans(plan, captions, identity_of(captions, model, prompts))
    if model is not None:
        model = dataclasses.replace(model, path=local_path(model))
    table = read_concepts(run, plan)
    column = model_column(captions, model)
    idle: SimpleQueue[Engine] = SimpleQueue()

    def write(task: ShardTask) -> None:
        if model is not None:
            task.provenance = {**task.provenance, PROVENANCE: model.provenance()}
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
    """Open one engine in this process, or several in processes of their own; they are closed at the end.

    vLLM on a GPU gets one even when it is alone: after a fault of the GPU only another process can start it again.
    """
    if config.engines > 1 or (config.engine, config.device) == ("vllm", "cuda"):
        from synthclip_hpc.captioning.engines.engine_process import engines_side_by_side

        with engines_side_by_side(open_engine, config, model) as engines:
            yield engines
        return
    engine = open_engine(config, model)
    try:
        yield [engine]
    finally:
        engine.close()


def _refuse_another_plans(plan: Plan, config: CaptionsConfig, found: dict[str, Any]) -> None:
    """Raise UserError when what answers depend on is not what was planned: files or software may have changed since."""
    planned = {key: value for key, value in plan.identity.items() if key not in _LAID_OUT}
    if not (other := differences(planned, json.loads(canonical_json(found)))):
        return
    for key, named in (("captions.model.fingerprint", config.model), ("captions.prompt.sha256", config.prompt)):
        if key in (one for one, _, _ in other):
            raise UserError(
                f"{key.rpartition('.')[0]}={named}: its files are not those of the plan ({key}: planned "
                f"{planned.get(key)}, here {found.get(key)}); restore them, or start a new run with what is there"
            )
    raise UserError(
        f"captions/write was planned by other software, whose captions differ:\n{explain(other)}\n"
        "Use the software of the plan (the submission's record has its commit), or start a new run with this one"
    )


def _write_shard(
    task: ShardTask, concepts: pyarrow.Table, model: str, answer: Callable[[Sequence[Item]], list[Answer]]
) -> None:
    columns = known_columns(task.plan, concepts, task.shard)
    if len(set(columns["caption_id"])) != len(columns["caption_id"]):
        raise UserError(f"two captions of shard {task.shard.index} share an id; leave out one of their concepts")
    items = [Item(*one) for one in zip(columns["concept"], columns["seed"], strict=True)]
    excluded = [reason for *_, reason in items_of(concepts, task.shard)]
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


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the captions of a finished shard, rejects by reason; TableError for captions of another seed or shard."""
    import pyarrow.parquet as pq

    counts = inspect_table(path, schema())
    expected = known_columns(plan, read_concepts(run, plan), shard)
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


def gpus_of_worker(config: RunConfig) -> int:
    """Return how many GPUs the engines of one worker take together."""
    from synthclip_hpc.captioning.engines.engine_process import gpus_per_engine

    return config.captions.engines * gpus_per_engine(config.captions)


def promise(config: RunConfig) -> Promise:
    """Return `bytes` where a caption made again is the same, else `items`.

    A language model on the CPU repeats its bytes with the same software, number of threads and CPU type; vLLM when it
    compiles nothing. The kernels of GPUs do not promise it, and of an engine of the user's nobody knows.
    """
    captions = config.captions
    repeats = {"transformers": True, "vllm": captions.vllm.eager and captions.vllm.tensor_parallel == 1}
    on_cpu = captions.device == "cpu" and repeats.get(captions.engine, False)
    return "bytes" if is_template(captions) or on_cpu else "items"


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
    own = "an engine of your own, which only a probe can measure"
    what = "a model of 7 billion parameters, one GPU" if uses_model(captions) else own
    return Estimate((40, 120), (1 / 60, 1 / 6), f"guessed: {what}", device="GPU")


PHASES = (
    Phase(
        stage="captions",
        name="write",
        kind="map",
        upstream=lambda config: (("concepts", "read"),),
        layout=layout,
        open=open_writer,
        inspect=inspect,
        estimate=estimate,
        promise=promise,
        lanes=lambda config: config.captions.engines,
        threads=lambda config: config.captions.threads,
        gpus=gpus_of_worker,
        check_place=check_place,
        check_sealed=check_unique,
    ),
)
