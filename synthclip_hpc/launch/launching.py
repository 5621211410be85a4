"""Starting what is not done: the part that `submit` and `resume` have in common."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sharding.seal import load_seal
from synthclip_hpc import provenance
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.launch.chain import Link, is_sealed, missing_shards
from synthclip_hpc.launch.liveness import living
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions, withdraw

if TYPE_CHECKING:
    from synthclip_hpc.launch.arrays import Target

CLUSTERS = ("auto", "local", "slurm", "onemachine")


def resolve_cluster(cluster: str) -> str:
    """Turn `auto` into `slurm` when sbatch is on the PATH, else `local`; refuse an unknown name."""
    if cluster not in CLUSTERS:
        raise UserError(f"cluster={cluster}: no such cluster{nearest(cluster, CLUSTERS)}. Valid: {', '.join(CLUSTERS)}")
    if cluster == "auto":
        return "slurm" if shutil.which("sbatch") else "local"
    return cluster


@dataclass
class Started:
    """What a command did about each phase."""

    lines: list[str] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)


def start(run: Run, links: Sequence[Link], config: RunConfig, cluster: str, *, assume_ended: bool = False) -> Started:
    """Submit every phase that is neither sealed nor alive, each behind the one before it.

    Twice in a row it submits nothing the second time. Raises SubmissionRefused, or UserError when the queue cannot be
    asked; phases submitted before that stay submitted and are found by the next call.
    """
    started = Started()
    target = None
    if cluster != "local":
        from synthclip_hpc.launch.arrays import find_target

        target = find_target(config, cluster)
    known = all_submissions(run)
    use_environment(known)
    alive = living(known, assume_ended=assume_ended)
    facts = provenance.of_submission(sys.argv)
    after: str | None = None
    waits = False
    local: list[Submission] = []
    for link in links:
        key = link.phase.key
        if is_sealed(run, link):
            started.lines.append(f"{key}: done ({link.plan.num_shards} shards sealed)")
            continue
        after = after or _wait_for_upstream(run, link, links, alive)
        if link.phase.inline:
            from synthclip_hpc.launch.inline import do_inline

            do_inline(run, link, config)
            started.lines.append(f"{key}: done now ({link.plan.num_items} items)")
            continue
        running = [one for one in alive if (one.stage, one.phase) == (link.phase.stage, link.phase.name)]
        if running:
            started.lines.append(f"{key}: already submitted as {running[-1].name}{_ids(running[-1])}")
            after, waits = last_job(running[-1]), True
            continue
        missing = missing_shards(run, link)
        if not missing and not waits:
            from synthclip_hpc.sealing import seal_phase

            seal_phase(run, link.phase.stage, link.phase.name)
            started.lines.append(f"{key}: all {link.plan.num_shards} shards were there; sealed now")
            continue
        submission = _submit(run, link, missing, config, target, after, facts, assume_ended)
        if submission is None:
            started.lines.append(f"{key}: being submitted by another command")
            break
        started.submissions.append(submission)
        covered = f"{len(missing)} of {link.plan.num_shards} shards"
        started.lines.append(
            f"{key}: {covered} in {submission.num_elements} elements, submission {submission.name}{_ids(submission)}"
        )
        waits = True
        after = last_job(submission)
        if target is None:
            local.append(submission)
    if local:
        from synthclip_hpc.launch.local import start_supervisor

        renewed = {one.name: one for one in start_supervisor(run, local)}
        started.submissions = [renewed.get(one.name, one) for one in started.submissions]
    return started


def _wait_for_upstream(run: Run, link: Link, links: Sequence[Link], alive: Sequence[Submission]) -> str | None:
    """Return the seal job or submission to wait for when a phase upstream, not of this command, is still at work.

    Raises UserError when such a phase is neither sealed nor alive: nothing would ever release this one.
    """
    keys = {other.phase.key for other in links}
    for stage, name in link.phase.upstream:
        if f"{stage}/{name}" in keys or load_seal(run.phase(stage, name)) is not None:
            continue
        at_work = [one for one in alive if (one.stage, one.phase) == (stage, name)]
        if not at_work:
            raise UserError(
                f"{link.phase.key} builds on {stage}/{name}, which is neither finished nor at work; "
                f"run: python -m synthclip_hpc.resume run={run.path}"
            )
        return last_job(at_work[-1])
    return None


def last_job(submission: Submission) -> str:
    """Return what a later phase waits for: the seal job on Slurm, the submission itself under a local supervisor."""
    jobs = submission.record.get("seal_jobs")
    return str(jobs[-1]) if jobs else submission.name


def _submit(
    run: Run,
    link: Link,
    missing: Sequence[int],
    config: RunConfig,
    target: Target | None,
    after: str | None,
    facts: dict[str, object],
    assume_ended: bool,
) -> Submission | None:
    def is_first(mine: Submission) -> bool:
        return first_of_phase(run, mine, assume_ended)

    if after is not None and after.isdigit() != (target is not None):
        raise UserError(
            f"{link.phase.key} would wait for {after}, which is at work on another cluster; "
            "submit this stage when it has finished"
        )
    if target is not None:
        from synthclip_hpc.launch.arrays import submit_link

        return submit_link(run, link, missing, config, target, after, facts, is_first)
    from synthclip_hpc.launch.local import claim_link

    claimed = claim_link(run, link, missing, config, after, facts)
    if claimed is not None and not is_first(claimed):
        withdraw(claimed)
        return None
    return claimed


def first_of_phase(run: Run, mine: Submission, assume_ended: bool) -> bool:
    """Tell, after a claim, whether no earlier submission of the phase is alive: of two at once the lower stays."""
    same = [one for one in all_submissions(run) if (one.stage, one.phase) == (mine.stage, mine.phase)]
    earlier = [one for one in same if one.number < mine.number]
    return not living(earlier, assume_ended=assume_ended)


def use_environment(submissions: Sequence[Submission]) -> None:
    """Point Slurm's tools at the cluster of the latest submission, unless the user's environment does so already."""
    for submission in reversed(submissions):
        for key, value in submission.record.get("environment", {}).items():
            os.environ.setdefault(key, value)


def _ids(submission: Submission) -> str:
    return f" (jobs {', '.join(submission.job_ids)})" if submission.job_ids else ""
