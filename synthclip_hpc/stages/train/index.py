"""Phase `index`: which data are trained on, and where the samples of `train.data` lie.

Items are the tars of `train.data`, each read once. There are none for the run's own data set and for a finished one of
another run, which has an index: of such a one the plan keeps what tells its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharding.files import checksum
from sharding.marker import Counts
from sharding.plan import Plan, ShardRange, load_plan
from synthclip_hpc.config import RunConfig, TrainConfig
from synthclip_hpc.dataset.columns import CHECKSUMS
from synthclip_hpc.dataset.sources import find_sources, numbered_tars
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources
from synthclip_hpc.stages.verified_tars import SUFFIX, inspect_verified, planned_sources, verify_foreign, verify_tars
from synthclip_hpc.training import places

if TYPE_CHECKING:
    from synthclip_hpc.dataset.contents import Contents
    from synthclip_hpc.dataset.sources import TarSource
    from synthclip_hpc.run import Run

KEY = "train.data"


def layout(config: RunConfig, sources: Sources) -> Plan:
    """Tasks of `merge.task_shards` tars. Raises UserError for bad values and data that are not there."""
    if config.merge.task_shards < 1:
        raise UserError(f"merge.task_shards={config.merge.task_shards}: wanted a whole number from 1")
    found: list[TarSource] = []
    identity: dict[str, Any] = {}
    if places.is_indexed(config.train):
        identity = {"dataset": _hash_of(config.train)}
    elif config.train.data is not None:
        found = find_sources(config.train.data, KEY)
        identity = {"sources": [source.identity() for source in found]}
    return Plan(
        stage="train",
        phase="index",
        kind="map",
        num_items=sum(len(source.tars) for source in found),
        shard_items=config.merge.task_shards if found else 1,
        suffix=SUFFIX,
        identity=identity,
    )


def _hash_of(train: TrainConfig) -> str:
    """Return the sha256 of the file that has the checksums of a finished data set."""
    assert train.data is not None
    path = places.named_folder(train.data) / CHECKSUMS
    try:
        return checksum(path)[1]
    except FileNotFoundError as error:
        raise UserError(f"{KEY}={train.data}: an index without {CHECKSUMS}; merge that run again") from error


def check_unchanged(config: RunConfig, run: Run) -> None:
    """Raise UserError, with both hashes, when a finished data set is not the one that was planned with."""
    planned = _plan_of(run).identity.get("dataset")
    if planned is None:
        return
    found = _hash_of(config.train) if places.is_indexed(config.train) else "no index"
    if found != planned:
        raise UserError(
            f"{KEY}={config.train.data}: the data set has changed since the training was planned (sha256 of its "
            f"{CHECKSUMS}: planned {planned}, found {found}); restore it, or train on what is there in a new run"
        )


def _plan_of(run: Run) -> Plan:
    plan = load_plan(run.phase("train", "index"))
    if plan is None:
        raise UserError(f"train/index has no plan; run: resume run={run.path}")
    return plan


def planned_tars(config: RunConfig, run: Run) -> tuple[Plan, list[TarSource], dict[int, tuple[TarSource, Path]]]:
    """Return the plan, the sources, and the tars by number. Raises UserError when they are not as planned."""
    plan = _plan_of(run)
    sources = planned_sources(config.train.data, KEY, plan)
    return plan, sources, {number: (source, tar) for number, source, tar in numbered_tars(0, sources)}


@contextmanager
def open_indexer(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Look at the sources once for an attempt; yield the function that reads the tars of one task."""
    _, _, tars = planned_tars(config, run)
    with ThreadPoolExecutor(1, "hasher") as hasher:

        def contents_of(number: int) -> tuple[str | None, Contents]:
            source, tar = tars[number]
            return source.name, verify_foreign(source, tar, number, hasher, KEY)

        yield lambda task: verify_tars(task, contents_of)


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the tars of a finished output; TableError when they are not the task's."""
    return inspect_verified(path, shard)


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a tar: reading and hashing it. How many samples it has is not known before."""
    return Estimate((3e4, 8e5), (1e-2, 10.0), "measured: 22 kB a sample, one core; guessed: 1,000 to 10,000 a tar")


PHASE = Phase(
    stage="train",
    name="index",
    kind="map",
    upstream=lambda config: (),
    layout=layout,
    open=open_indexer,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
    contiguous=True,
    jobs_like="merge",
)
