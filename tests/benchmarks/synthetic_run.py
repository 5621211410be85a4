"""A run in the middle of its work on Slurm (or at its end), written straight to disk: what 1,000 attempts would leave.

Each element has had two lives. The first was cut short, in four ways in turn: advance notice of the time limit, of a
preemption, a bare SIGTERM, SIGKILL; only accounting can explain the last two. The second is running, or has finished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json
from sharding.deal import deal
from sharding.directory import PhaseDirectory
from sharding.marker import Counts, Marker
from sharding.plan import Plan
from sharding.seal import write_seal
from synthclip_hpc import provenance
from synthclip_hpc.config import CaptionsConfig, ConceptsConfig, RunConfig
from synthclip_hpc.config_files import to_table
from synthclip_hpc.launch.chain import bind, lay_out
from synthclip_hpc.launch.inline import do_inline
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import all_submissions, claim, update
from tests.benchmarks.bank import write_bank

JOB = "4711"
SEAL_JOB = "4712"
_OUTPUT = b"PAR1" * 256
_NO_INPUTS = "0" * 64
_SHARD_S = 40.0
"""How long a shard takes in the story that the journals tell."""


@dataclass(frozen=True)
class Shape:
    """How large the run is. `num_elements` must divide both numbers of shards; with all done the run is sealed."""

    num_shards: int
    num_done: int
    num_elements: int
    shard_items: int = 1000
    progress_events: int = 4
    """Progress events a shard: the most that 1,000 items in batches of 256 give."""


def write_run(path: Path, shape: Shape) -> Run:
    """Write the run; its attempts number twice its elements."""
    num_concepts = min(shape.num_shards, 1000)
    config = RunConfig(
        concepts=ConceptsConfig(bank=str(write_bank(path.with_suffix(".txt"), num_concepts))),
        captions=CaptionsConfig(
            per_concept=shape.num_shards * shape.shard_items // num_concepts, shard_items=shape.shard_items
        ),
    )
    run = Run(path)
    facts = provenance.of_submission(["synthetic"])
    run.create(config, facts)
    concepts, captions = lay_out(config, ["concepts", "captions"])
    bind(run, [concepts, captions])
    do_inline(run, concepts, config)
    shards = list(range(shape.num_shards))
    record = {
        "cluster": "slurm",
        "cluster_option": "slurm",
        "stage": "captions",
        "phase": "write",
        "plan_hash": captions.plan.hash,
        "num_shards": shape.num_shards,
        "num_elements": shape.num_elements,
        "config": to_table(config),
        "claimer": None,
        "job_name": run.job_name("captions", "write"),
        "signal_lead_s": 120,
        "environment": {"SLURM_CONF": None},
        "after": None,
        "provenance": facts,
    }
    submission = claim(run, "captions", shards, record)
    assert submission is not None
    update(submission, state="submitted", array_jobs=[JOB], seal_jobs=[SEAL_JOB])
    directory = run.phase("captions", "write")
    directory.journals_path.mkdir(parents=True)
    for element in range(shape.num_elements):
        mine = deal(shards, shape.num_elements, element)
        done = mine[: shape.num_done // shape.num_elements]
        for shard in done:
            _write_shard(directory, captions.plan, shard)
        current = mine[len(done)] if len(done) < len(mine) else None
        _write_journals(directory, submission.name, shape, element, done, current)
    if shape.num_done == shape.num_shards:
        write_seal(directory, captions.plan, _NO_INPUTS)
    return run


def squeue_answer(run: Run, shape: Shape) -> str:
    """What squeue says of the run: every element runs, the seal job waits for them."""
    now = int(time.time())
    name, seal_name = all_submissions(run)[0].job_names
    rows = [
        f"{JOB}_{i}|{JOB}|{i}|{name}|RUNNING|None|node{i % 50}|{now - 700}|{now + 3600}"
        for i in range(shape.num_elements)
    ]
    return "\n".join([*rows, f"{SEAL_JOB}|{SEAL_JOB}|N/A|{seal_name}|PENDING|Dependency||N/A|N/A"]) + "\n"


def sacct_answer(shape: Shape) -> str:
    """What sacct says of it: two lives of each element; the first ended as its number tells."""
    now = int(time.time())
    ends = ("TIMEOUT", "PREEMPTED", "PREEMPTED", "NODE_FAIL")
    rows = []
    for i in range(shape.num_elements):
        rows.append(f"{JOB}_{i}|{ends[i % 4]}|{now - 1500}|{now - 750}|node{i % 50}|0:0")
        rows.append(f"{JOB}_{i}|RUNNING|{now - 700}|Unknown|node{i % 50}|0:0")
    return "\n".join(rows) + "\n"


def marker_of(plan: Plan, shard: int) -> Marker:
    """The marker that a shard gets."""
    items = plan.shard(shard)
    total = items.stop - items.start
    facts = {**provenance.of_process(), "attempt": f"{JOB}_0_0", "seconds": _SHARD_S, "finished": time.time()}
    counts = Counts(total, total, 0, {})
    return Marker(plan.stage, plan.phase, shard, plan.hash, _NO_INPUTS, len(_OUTPUT), "0" * 64, counts, "bytes", facts)


def _write_shard(directory: PhaseDirectory, plan: Plan, shard: int) -> None:
    files = {
        directory.data_path(shard, plan.suffix): _OUTPUT,
        directory.marker_path(shard): canonical_json(marker_of(plan, shard).to_json()),
    }
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _write_journals(
    directory: PhaseDirectory, submission: str, shape: Shape, element: int, done: list[int], current: int | None
) -> None:
    half = len(done) // 2
    begin = time.time() - _SHARD_S * (len(done) + 1)
    for restart, shards in enumerate((done[:half], done[half:])):
        attempt = f"{JOB}_{element}_{restart}"
        start = {"attempt": attempt, "job": JOB, "index": element, "restart": restart, "submission": submission}
        events = [_event("start", begin, **start, element=element, node=f"node{element % 50}", pid=1000 + element)]
        events.append(_event("ready", begin, seconds=0.5))
        for shard in shards:
            events += _shard_events(shape, shard, begin, shape.progress_events)
            begin += _SHARD_S
            events.append(
                _event("shard_done", begin, shard=shard, total=shape.shard_items, done=shape.shard_items, rejected=0,
                       rejects={}, size_bytes=len(_OUTPUT), seconds=_SHARD_S, new=_new(shape))
            )  # fmt: skip
        if restart == 1:
            if current is None:
                events.append(_event("end", begin, reason="completed"))
            else:
                events += _shard_events(shape, current, begin, shape.progress_events // 2)
        elif element % 4 < 3:
            # Advance notice, notice of a preemption, a bare SIGTERM; the fourth died without a word.
            events.append(_event("end", begin, reason="terminated" if element % 4 == 2 else "notice"))
            if element % 4 < 2:
                events.append(_event("requeue", begin, cause=("timeout", "preemption")[element % 4]))
        directory.journal_path(attempt).write_text("".join(events), encoding="utf-8")


def _shard_events(shape: Shape, shard: int, begin: float, num_progress: int) -> Iterator[str]:
    yield _event("shard_start", begin, shard=shard, resumed_items=0)
    step_s = _SHARD_S / (shape.progress_events + 1)
    for number in range(1, num_progress + 1):
        items = number * _new(shape)
        yield _event("progress", begin + number * step_s, shard=shard, items=items, new=_new(shape))


def _new(shape: Shape) -> int:
    return shape.shard_items // (shape.progress_events + 1)


def _event(name: str, at: float, **fields: Any) -> str:
    return json.dumps({"event": name, "time": round(at, 3), **fields}) + "\n"
