"""Plans that nothing was made from give way to what a command asks for; what has made something keeps its plan.

A command holds each phase whose plan it replaces by a claim without work: among submissions of a phase the lowest
living number stays, so nobody else replaces or submits the phase meanwhile. The frozen configuration follows before the
claims are gone. Killed half-way, it leaves plans of two configurations from which nothing was made: the next command
replaces them again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from sharding.drift import differences, explain
from sharding.plan import Plan, load_plan, replace_plan
from synthclip_hpc.config import RunConfig
from synthclip_hpc.config_files import to_table
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.chain import Link, bind
from synthclip_hpc.launch.liveness import NO_CLUSTER, earlier_living
from synthclip_hpc.pipeline import phases_of
from synthclip_hpc.processes import identify
from synthclip_hpc.run import Run
from synthclip_hpc.stages.phase import Phase
from synthclip_hpc.submissions import Submission, claim, withdraw


@dataclass(frozen=True)
class Replacement:
    """A phase whose plan gives way, as nothing was made from it."""

    phase: Phase
    planned: Plan
    asked: Plan | None
    """None: its size is not known any more; it is laid out anew when what comes before it is done."""

    def told(self) -> str:
        """Return the line that says so, with the reason."""
        if self.asked is None:
            return f"{self.phase.key}: nothing was made from its plan, which is taken back: its size is not known yet"
        changes = (f"{key.removeprefix('identity.')}: {old!r} -> {new!r}" for key, old, new in self._differences())
        return f"{self.phase.key}: nothing was made from its plan, which is replaced ({', '.join(changes)})"

    def explanation(self) -> str:
        """Return what differs, a line each."""
        return explain(self._differences()) or "  its size would not be known any more"

    def _differences(self) -> list[tuple[str, object, object]]:
        return differences(self.planned.to_json(), self.asked.to_json()) if self.asked else []


def find_replacements(run: Run, links: Sequence[Link], stages: Sequence[str]) -> list[Replacement]:
    """Return the phases of the stages that are bound to another plan than their link's.

    `links` is what `plan_links` gave, so nothing was made from those plans. With them go the plans of phases that were
    laid out from them and whose size is not known any more.
    """
    found = []
    for link in links:
        planned = load_plan(link.directory(run))
        if planned is not None and planned.hash != link.plan.hash:
            found.append(Replacement(link.phase, planned, link.plan))
    if not found:
        return []
    laid_out = {link.phase.key for link in links}
    for phase in (phase for stage in stages for phase in phases_of(stage) if phase.key not in laid_out):
        directory = run.phase(phase.stage, phase.name)
        planned = load_plan(directory)
        if planned is not None and directory.is_untouched():
            found.append(Replacement(phase, planned, None))
    return found


def freeze(
    run: Run,
    links: Sequence[Link],
    replacements: Sequence[Replacement],
    config: RunConfig,
    cluster: str,
    *,
    assume_ended: bool = False,
) -> None:
    """Bind the plans of the links, in place of those that give way, and let the frozen configuration follow.

    Raises UserError while a phase whose plan would be replaced is at work, and PlanDrift when another command was
    faster: then the configuration stays as it is.
    """
    with ExitStack() as held:
        for one in replacements:
            held.callback(withdraw, _hold(run, one, config, cluster, assume_ended))
        for one in replacements:
            replace_plan(run.phase(one.phase.stage, one.phase.name), one.planned, one.asked)
        # The plans decide first: of two commands with different configurations one is refused here, and must not have
        # replaced the other's configuration by then.
        bind(run, links)
        if run.load_config() != config:
            run.update_config(config)


def _hold(run: Run, one: Replacement, config: RunConfig, cluster: str, assume_ended: bool) -> Submission:
    phase = one.phase
    record = {
        "cluster": NO_CLUSTER,
        "cluster_option": cluster,
        "stage": phase.stage,
        "phase": phase.name,
        "plan_hash": one.planned.hash,
        "num_shards": 0,
        "num_elements": 0,
        "config": to_table(config),
        "claimer": identify(os.getpid()),
    }
    claimed = None
    while claimed is None:  # another command took the number: try the next one
        claimed = claim(run, phase.stage, [], record)
    try:
        at_work = earlier_living(run, claimed, assume_ended=assume_ended)
        if at_work and all(other.cluster == NO_CLUSTER for other in at_work):
            raise UserError(
                f"run={run.path}: another command is replacing the plan of {phase.key} at this moment "
                f"({', '.join(other.name for other in at_work)}); type this command again when it has ended"
            )
        if at_work:
            raise UserError(
                f"run={run.path}: {phase.key} is at work or in the queue under another plan "
                f"({', '.join(other.name for other in at_work)}); nothing was made from it yet, so it can be replaced: "
                f"python -m synthclip_hpc.cancel stage={phase.stage} run={run.path}, then this command again. "
                f"What differs:\n{one.explanation()}"
            )
    except BaseException:
        withdraw(claimed)
        raise
    return claimed
