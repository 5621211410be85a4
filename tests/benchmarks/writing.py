"""How fast one process writes captions: the worker's own path, beside a loop without ids and without resume."""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

from sharding.journal import Journal
from synthclip_hpc.captioning.engines.template import read_templates
from synthclip_hpc.config import CaptionsConfig, ConceptsConfig, RunConfig
from synthclip_hpc.launch.chain import bind, lay_out
from synthclip_hpc.launch.inline import do_inline
from synthclip_hpc.run import Run
from synthclip_hpc.work import Bench, bound_inputs, work
from tests.benchmarks.bank import write_bank
from tests.benchmarks.measure import Result

TIMES = 5
FLOOR_PER_S = 50_000
NUM_CONCEPTS = 10_000
PER_CONCEPT = 20
NUM_ITEMS = NUM_CONCEPTS * PER_CONCEPT
SHARD_ITEMS = 1000


def measure(folder: Path) -> list[Result]:
    bank = write_bank(folder / "bank.txt", NUM_CONCEPTS)
    concepts = bank.read_text(encoding="utf-8").splitlines()
    ours, bare = [], []
    # In turn, so that what disturbs the machine disturbs both.
    for number in range(TIMES):
        ours.append(NUM_ITEMS / _worker_seconds(folder / f"run{number}", bank))
        bare.append(NUM_ITEMS / _bare_seconds(folder / f"bare{number}", concepts))
    rate, bare_rate = statistics.median(ours), statistics.median(bare)
    what = f"template captions published, one process, {NUM_ITEMS:,}"
    spread = f"(of {TIMES}: {min(ours):,.0f} to {max(ours):,.0f})"
    return [
        Result(what, f"{rate:,.0f}/s {spread}", f"> {FLOOR_PER_S:,}/s", rate > FLOOR_PER_S),
        Result("bare loop: templates and Parquet, no ids, no resume", f"{bare_rate:,.0f}/s", "-", None),
        Result("published / bare", f"{rate / bare_rate:.2f}", "-", None),
    ]


def _worker_seconds(path: Path, bank: Path) -> float:
    """Seconds from opening the engine to the last marker, with everything that a worker does."""
    config = RunConfig(
        concepts=ConceptsConfig(bank=str(bank)),
        captions=CaptionsConfig(per_concept=PER_CONCEPT, shard_items=SHARD_ITEMS),
    )
    run = Run(path)
    run.create(config, {})
    concepts, captions = lay_out(config, ["concepts", "captions"])
    bind(run, [concepts, captions])
    do_inline(run, concepts, config)
    journal = Journal(captions.directory(run).journal_path("bench_0_0"))
    inputs = bound_inputs(run, captions.phase, config)
    bench = Bench(run, captions.phase, captions.plan, config, "bench_0_0", journal, inputs)
    started = time.monotonic()
    failed = work(bench, list(range(captions.plan.num_shards)), error_limit=0)
    seconds = time.monotonic() - started
    journal.close()
    marked = len(captions.directory(run).marked_shards())
    if failed or marked != NUM_ITEMS // SHARD_ITEMS:
        raise RuntimeError(f"{marked} of {NUM_ITEMS // SHARD_ITEMS} shards done, failed: {failed}")
    return seconds


def _bare_seconds(folder: Path, concepts: list[str]) -> float:
    """Seconds of what the same captions cost a script of twenty lines."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    templates = read_templates()
    pick = random.Random(0).choice
    started = time.monotonic()
    for shard in range(NUM_ITEMS // SHARD_ITEMS):
        numbers = range(shard * SHARD_ITEMS, (shard + 1) * SHARD_ITEMS)
        words = [concepts[number % NUM_CONCEPTS] for number in numbers]
        prompts = [pick(templates) for _ in numbers]
        columns = {
            "concept": words,
            "n": [number // NUM_CONCEPTS for number in numbers],
            "prompt": prompts,
            "caption": [prompt.replace("{concept}", word) for prompt, word in zip(prompts, words, strict=True)],
        }
        pq.write_table(pa.table(columns), folder / f"{shard:05d}.parquet", compression="zstd")
    return time.monotonic() - started
