"""From stages to submissions: what is planned, what is missing, what is alive, and what to start for the rest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from sharding.directory import PhaseDirectory
from sharding.marker import is_done
from sharding.plan import Plan, PlanDrift, bind_plan, load_plan
from sharding.seal import load_seal
from synthclip_hpc.config import RunConfig, get, keys_with_role
from synthclip_hpc.errors import UserError
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.place import local_place
from synthclip_hpc.run import Run
from synthclip_hpc.stage_order import STAGES
from synthclip_hpc.stages.phase import LayoutLater, Phase, Sources

_READERS = 16
_OTHERWISE = {
    "eval": "\nIts model on other data, or by other tasks: python -m synthclip_hpc.submit stage=eval run=NEW "
    "eval.checkpoints=none eval.model={run}/train/export eval.reuse={run}"
}
"""Stage -> how to have what was asked for all the same."""


@dataclass(frozen=True)
class Link:
    """One phase with its plan: a link of the chain that a command is about."""

    phase: Phase
    plan: Plan
    only: frozenset[int] | None = None
    """The shards that this command may take of those that are missing; None: all."""

    def directory(self, run: Run) -> PhaseDirectory:
        """Return where the phase lives."""
        return run.phase(self.phase.stage, self.phase.name)

    def chosen(self, shards: Sequence[int]) -> list[int]:
        """Return those of the shards that this command may take."""
        return [shard for shard in shards if self.only is None or shard in self.only]


def lay_out(config: RunConfig, stages: Sequence[str], run: Run | None = None) -> list[Link]:
    """Lay out every phase of the stages, up to one whose size is not known yet. Reads the sources, writes nothing.

    A phase that has started under the same configuration keeps the plan it is bound to when its sources (a bank that
    was moved since, captions from elsewhere) cannot be read any more. Raises UserError for bad values, and for sources
    that cannot be read.
    """
    sources = Sources(config, run)
    links = []
    for phase in (phase for stage in stages for phase in phases_of(stage)):
        try:
            links.append(Link(phase, phase.layout(config, sources)))
        except LayoutLater:
            break
        except UserError:
            if run is None or not run.exists() or not _has_same_identity(run.load_config(), config):
                raise
            planned = load_plan(run.phase(phase.stage, phase.name))
            if planned is None:
                raise
            links.append(Link(phase, planned))
    return links


def _has_same_identity(frozen: RunConfig, config: RunConfig) -> bool:
    return all(get(frozen, key) == get(config, key) for key in keys_with_role("identity"))


def left_for_later(links: Sequence[Link], stages: Sequence[str]) -> list[str]:
    """Return the keys of the phases of the stages that could not be laid out yet."""
    laid_out = {link.phase.key for link in links}
    return [phase.key for stage in stages for phase in phases_of(stage) if phase.key not in laid_out]


def started_stages(run: Run) -> list[str]:
    """Return the stages of a run that have a plan."""
    return [stage for stage in STAGES if run.has_plans(stage)]


def bound_links(run: Run, stages: Sequence[str]) -> list[Link]:
    """Return the phases of the stages that have a plan, with the plan they are bound to."""
    links = []
    for stage in stages:
        for phase in phases_of(stage):
            plan = load_plan(run.phase(stage, phase.name))
            if plan is not None:
                links.append(Link(phase, plan))
    return links


def refuse_drift(run: Run, links: Sequence[Link]) -> None:
    """Raise PlanDrift, with the differences, when a phase has made something under another plan."""
    for link in links:
        planned = load_plan(link.directory(run))
        if planned is not None and planned.hash != link.plan.hash and not link.directory(run).is_untouched():
            raise PlanDrift(planned, link.plan, f"run={run.path}: {link.phase.key}")


def plan_links(run: Run, config: RunConfig, stages: Sequence[str], asked: Sequence[str]) -> list[Link]:
    """Lay out the stages and make sure that none has made something under another plan.

    A phase that is finished, of a stage that was not asked for, keeps its plan whatever became of its sources since.
    Raises what `lay_out` raises, UserError when keys were changed that decide what was made, or PlanDrift when the same
    keys mean something else than they did.
    """
    links = [
        _kept(run, config, link) if link.phase.stage not in asked else link for link in lay_out(config, stages, run)
    ]
    try:
        refuse_drift(run, links)
    except PlanDrift as drift:
        if changed := _changed_keys(run, config, drift.stage):
            raise UserError(
                f"run={run.path}: it has started and keeps what decides its outputs:\n{changed}\n"
                f"Leave these keys out, or use a new run directory (plan {drift.planned_hash[:16]}, "
                f"asked {drift.asked_hash[:16]}){_OTHERWISE.get(drift.stage, '').format(run=run.path)}"
            ) from drift
        raise  # no key changed, but what one of them names
    return links


def _kept(run: Run, config: RunConfig, link: Link) -> Link:
    planned = load_plan(link.directory(run))
    if planned is None or planned.hash == link.plan.hash or _changed_keys(run, config, link.phase.stage):
        return link
    finished = replace(link, plan=planned)
    return finished if is_sealed(run, finished) else link


def _changed_keys(run: Run, config: RunConfig, stage: str) -> str:
    """List the keys that were changed, of those that a stage's plans depend on."""
    frozen = run.load_config()
    keys = [key for key in keys_with_role("identity") if key.partition(".")[0] in ("seed", "concepts", stage)]
    changed = [(key, get(frozen, key), get(config, key)) for key in keys]
    return "\n".join(f"  {key}: the run has {ours!r}, asked {asked!r}" for key, ours, asked in changed if ours != asked)


def bind(run: Run, links: Sequence[Link]) -> None:
    """Write the plans, create-if-absent."""
    for link in links:
        bind_plan(link.directory(run), link.plan)


def with_upstream(run: Run, config: RunConfig, stages: list[str], add: bool) -> list[str]:
    """Add what must come first: `concepts` without a word (it needs no job), the rest when `upstream=true`.

    Raises UserError naming what is missing and the command that adds it.
    """
    built_on = {before for stage in stages for before in _builds_on(config, stage)}
    needed = [stage for stage in STAGES if stage in built_on and stage not in stages]
    missing = [stage for stage in needed if stage != "concepts" and not is_started(run, stage)]
    if missing and not add:
        raise UserError(
            f"stage={','.join(stages)}: needs {', '.join(missing)}, not started in run={run.path}. Add them: "
            f"python -m synthclip_hpc.submit stage={','.join(stages)} upstream=true run={run.path}"
        )
    wanted = {*stages, *missing, *(built_on & {"concepts"})}
    return [stage for stage in STAGES if stage in wanted]


def _builds_on(config: RunConfig, stage: str) -> list[str]:
    """Return the stages that a stage builds on, in pipeline order."""
    found: set[str] = set()
    waiting = [stage]
    while waiting:
        phases = phases_of(waiting.pop())
        new = {upstream for phase in phases for upstream, _ in phase.upstream(config)} - found - {stage}
        found |= new
        waiting += new
    return [one for one in STAGES if one in found]


def is_started(run: Run, stage: str) -> bool:
    """Tell whether every phase of a stage has a plan."""
    return all(run.phase(stage, phase.name).plan_path.exists() for phase in phases_of(stage))


def is_sealed(run: Run, link: Link) -> bool:
    """Tell whether the phase is finished under this plan."""
    seal = load_seal(link.directory(run))
    return seal is not None and seal.plan_hash == link.plan.hash


def missing_shards(run: Run, link: Link) -> list[int]:
    """Return the shards without a valid marker that this command may take; reads as `unfinished_shards` does."""
    return link.chosen(unfinished_shards(run, link))


def unfinished_shards(run: Run, link: Link) -> list[int]:
    """Return all shards without a valid marker; opens the markers that a directory listing shows."""
    directory = link.directory(run)
    marked = sorted(directory.marked_shards())
    with ThreadPoolExecutor(_READERS) as pool:
        done = pool.map(lambda shard: shard < link.plan.num_shards and is_done(directory, link.plan, shard), marked)
        finished = {shard for shard, is_finished in zip(marked, done, strict=True) if is_finished}
    return [shard for shard in range(link.plan.num_shards) if shard not in finished]


def local_workers(config: RunConfig, phase: Phase) -> int:
    """Return how many worker processes a phase of a local run gets: as many as its cores and GPUs allow.

    Raises UserError for a negative number, and for more workers than there are GPUs for.
    """
    if config.workers < 0:
        raise UserError(f"workers={config.workers}: wanted 0 (as many as fit) or a positive number")
    cores = len(os.sched_getaffinity(0)) // (phase.threads(config) * phase.lanes(config))
    if not (gpus := phase.gpus(config)):
        return config.workers or max(1, cores)
    most = max(1, local_place().num_gpus // gpus)
    if config.workers > most:
        there = local_place().num_gpus
        raise UserError(
            f"workers={config.workers}: each takes {gpus} of the {there} GPUs here; use workers={most}, or leave it out"
        )
    return config.workers or most
