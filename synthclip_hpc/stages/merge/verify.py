"""Phase `verify`: every tar is read once, from end to end, and what the index needs of it is written down.

Items are tars: the run's render shards, then those of `merge.sources`. Nothing is copied or changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sharding.marker import Counts
from sharding.plan import Plan, ShardRange, load_plan
from sharding.seal import Seal, load_seal
from sharding.tar_scan import TarError, mapped
from synthclip_hpc.config import RunConfig
from synthclip_hpc.dataset.columns import OWN_SOURCE
from synthclip_hpc.dataset.contents import Contents, read_once
from synthclip_hpc.dataset.own_tar import find_damage, read_own
from synthclip_hpc.dataset.sources import find_sources, numbered_tars
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.balance import cut
from synthclip_hpc.stages.phase import Estimate, Phase, ShardTask, Sources
from synthclip_hpc.stages.render_items import plan_recipe
from synthclip_hpc.stages.verified_tars import (
    SUFFIX,
    inspect_verified,
    planned_sources,
    verify_foreign,
    verify_tars,
)

if TYPE_CHECKING:
    from synthclip_hpc.dataset.sources import TarSource
    from synthclip_hpc.run import Run

KEY = "merge.sources"


def num_own(config: RunConfig, sources: Sources) -> int:
    """Return how many tars the run renders; LayoutLater while that is not known."""
    return cut.layout(config, sources).num_shards


def layout(config: RunConfig, sources: Sources) -> Plan:
    """Tasks of `merge.task_shards` tars. Raises UserError for bad values and sources that are not there."""
    if config.merge.task_shards < 1:
        raise UserError(f"merge.task_shards={config.merge.task_shards}: wanted a whole number from 1")
    found = find_sources(config.merge.sources, KEY, (OWN_SOURCE,))
    own = num_own(config, sources)
    return Plan(
        stage="merge",
        phase="verify",
        kind="map",
        num_items=own + sum(len(source.tars) for source in found),
        shard_items=config.merge.task_shards,
        suffix=SUFFIX,
        identity={"own": own, "sources": [source.identity() for source in found]},
    )


@contextmanager
def open_verifier(config: RunConfig, run: Run, plan: Plan) -> Iterator[Callable[[ShardTask], None]]:
    """Look at the sources once for an attempt; yield the function that verifies the tars of one task."""
    seal, drawn = load_seal(run.phase("render", "draw")), load_plan(run.phase("render", "draw"))
    if seal is None or drawn is None or len(seal.shards) != plan.identity["own"]:
        raise UserError(f"merge/verify reads the sealed shards of render; run: resume run={run.path}")
    sources = planned(config, plan)
    recipe = plan_recipe(drawn)
    others = {number: (source, tar) for number, source, tar in numbered_tars(len(seal.shards), sources)}
    with ThreadPoolExecutor(1, "hasher") as hasher:

        def contents_of(number: int) -> tuple[str | None, Contents]:
            if number not in others:
                return None, _verify_own(run, seal, recipe, number, hasher)
            source, tar = others[number]
            return source.name, verify_foreign(source, tar, number, hasher, KEY)

        yield lambda task: verify_tars(task, contents_of)


def _verify_own(run: Run, seal: Seal, recipe: str, number: int, hasher: Executor) -> Contents:
    import pyarrow.parquet as pq

    path = run.phase("render", "draw").data_path(number, ".tar")
    rows = run.phase("balance", "cut").data_path(number, ".parquet")
    wanted = pq.read_table(rows, columns=["position", "caption_id", "caption"], memory_map=False, use_threads=False)
    entry = seal.shards[number]
    try:
        contents = read_once(path, lambda content: read_own(content, path, wanted, recipe, number), hasher)
        found = contents.found
        if contents.sha256 != entry.sha256:
            with mapped(path) as content:
                find_damage(content, path, wanted, recipe)
            raise TarError(path, 0, f"its sha256 is {contents.sha256}, it was sealed with {entry.sha256}")
        if (found.num_samples, found.num_rejects) != (entry.counts.done, entry.counts.rejected):
            told = f"{entry.counts.done} samples and {entry.counts.rejected} rejects"
            have = f"{found.num_samples} samples and {found.num_rejects} rejects"
            raise TarError(path, 0, f"{have}, its seal says {told}")
    except (TarError, FileNotFoundError) as error:
        raise UserError(
            f"render/draw, shard {number}: {error}. Reopen it: python -m synthclip_hpc.repair stage=render "
            f"run={run.path}, then: python -m synthclip_hpc.resume run={run.path}"
        ) from error
    return contents


def planned(config: RunConfig, plan: Plan) -> list[TarSource]:
    """Find the sources again. Raises UserError when they are not those that `verify` was planned with."""
    return planned_sources(config.merge.sources, KEY, plan, (OWN_SOURCE,))


def inspect(run: Run, path: Path, plan: Plan, shard: ShardRange) -> Counts:
    """Count the tars of a finished output; TableError when they are not the task's."""
    return inspect_verified(path, shard)


def estimate(config: RunConfig) -> Estimate:
    """Return the cost of a tar: reading and hashing it."""
    items = config.balance.shard_items
    return Estimate((30.0 * items, 80.0 * items), (1e-5 * items, 1e-3 * items), "measured: 22 kB a sample, one core")


def upstream(config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Return what is read: the images, and the captions they must be of."""
    return (("balance", "cut"), ("render", "draw"))


PHASE = Phase(
    stage="merge",
    name="verify",
    kind="map",
    upstream=upstream,
    layout=layout,
    open=open_verifier,
    inspect=inspect,
    estimate=estimate,
    promise=lambda config: "bytes",
    contiguous=True,
    made_again_with=(("render", "draw"),),
)
