"""Starting what is not done: the part that `submit` and `resume` have in common."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sharding.plan import check_bound
from sharding.seal import load_seal
from synthclip_hpc import provenance
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.chain import Link, is_sealed, unfinished_shards
from synthclip_hpc.launch.liveness import NO_CLUSTER, earlier_living, is_being_submitted, living, open_submissions
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions, update, withdraw

if TYPE_CHECKING:
    from synthclip_hpc.launch.arrays import Target

_HELD_POLL_S = 0.1
"""Another command replaces a plan in milliseconds."""


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
    return _Starter(run, links, config, cluster, assume_ended).start()


def start_shards(
    run: Run,
    link: Link,
    shards: Sequence[int],
    config: RunConfig,
    cluster: str,
    *,
    assume_ended: bool = False,
    **facts: Any,
) -> Submission | None:
    """Submit these missing shards of one phase and nothing else; None when another command was faster.

    `facts` are kept in the submission's record. Raises what `start` raises, and UserError when the phase is at work.
    """
    return _Starter(run, [link], config, cluster, assume_ended).start_shards(link, shards, facts)


class _Starter:
    """One command's way along the chain: what it has found and started so far."""

    def __init__(self, run: Run, links: Sequence[Link], config: RunConfig, cluster: str, assume_ended: bool) -> None:
        self.run, self.links, self.config, self.assume_ended = run, links, config, assume_ended
        self.cluster = cluster
        self.target: Target | None = None
        self.started = Started()
        self.local: list[Submission] = []
        self.after: str | None = None
        """The seal job, or local submission, that the next phase waits for."""
        self.waits = False
        """Whether anything before the next phase is still to be done."""

    def start(self) -> Started:
        open_links = [link for link in self.links if not is_sealed(self.run, link)]
        if not open_links:
            self.alive: list[Submission] = []
        else:
            self._look_around(open_links)
        try:
            for link in self.links:
                if not self._take(link):
                    break
        finally:
            # Whatever goes wrong with a later phase: what was claimed before it gets its supervisor.
            self._supervise(self.local)
        return self.started

    def start_shards(self, link: Link, shards: Sequence[int], facts: Mapping[str, Any]) -> Submission | None:
        self._look_around([link])
        if at_work := [one.name for one in self.alive if f"{one.stage}/{one.phase}" == link.phase.key]:
            raise UserError(f"run={self.run.path}: {link.phase.key} is at work already, as {', '.join(at_work)}")
        self.after = self._wait_for_upstream(link)
        submission = self._submit(link, shards)
        if submission is None:
            return None
        submission = update(submission, **facts)  # before a supervisor writes into the record as well
        self._supervise([submission] if self.local else [])
        return submission

    def _supervise(self, local: Sequence[Submission]) -> None:
        if local:
            from synthclip_hpc.launch.local import start_supervisor

            start_supervisor(self.run, local)

    def _look_around(self, open_links: Sequence[Link]) -> None:
        """Find what is alive; what is seen to be over is marked, so that nobody asks about it again."""
        if self.cluster != "local":
            from synthclip_hpc.launch.arrays import find_target

            self.target = find_target(self.config, self.cluster)
        wanted = {
            key
            for link in open_links
            for key in (link.phase.key, *("/".join(up) for up in link.phase.upstream(self.config)))
        }
        known = [one for one in all_submissions(self.run) if f"{one.stage}/{one.phase}" in wanted]
        found = living(known, assume_ended=self.assume_ended)
        self.alive = [one for one in found if one.cluster != NO_CLUSTER]
        names = {one.name for one in found}
        for one in open_submissions(known):
            if one.name not in names and not self.assume_ended:
                with contextlib.suppress(FileNotFoundError):  # withdrawn by its own command since
                    update(one, state="ended")

    def _take(self, link: Link) -> bool:
        """Do what one phase needs; False when the chain cannot go on behind it now."""
        key = link.phase.key
        check_bound(link.directory(self.run), link.plan)  # what is alive may be another command's, of another plan
        if not link.plan.num_shards:
            from synthclip_hpc.sealing import seal_phase

            # Neither a job nor any waiting: what comes before makes no difference to it.
            seal_phase(self.run, link.phase.stage, link.phase.name)
            self.started.lines.append(f"{key}: nothing to do")
            return True
        if is_sealed(self.run, link):
            self.started.lines.append(f"{key}: done ({link.plan.num_shards} of {link.plan.num_shards} shards sealed)")
            return True
        self.after = self.after or self._wait_for_upstream(link)
        if link.phase.inline:
            from synthclip_hpc.launch.inline import do_inline

            do_inline(self.run, link, self.config)
            self.started.lines.append(f"{key}: done now ({link.plan.num_items} items)")
            return True
        running = [one for one in self.alive if (one.stage, one.phase) == (link.phase.stage, link.phase.name)]
        if running and link.only:
            raise UserError(
                f"only=...: {key} is at work as {running[-1].name}, which has its shards already; wait for its end, or "
                f"run: python -m synthclip_hpc.cancel stage={link.phase.stage} run={self.run.path}"
            )
        if running:
            return self._join(link, running[-1])
        unfinished = unfinished_shards(self.run, link)
        missing = link.chosen(unfinished)
        if unfinished and not missing:
            self.started.lines.append(f"{key}: left open (missing: {len(unfinished)} of {link.plan.num_shards} shards)")
            return False
        if not unfinished and not self.waits:
            from synthclip_hpc.sealing import seal_phase

            seal_phase(self.run, link.phase.stage, link.phase.name)
            self.started.lines.append(f"{key}: all {link.plan.num_shards} shards were there; sealed now")
            return True
        submission = self._submit(link, missing)
        if submission is None:
            self.started.lines.append(f"{key}: being submitted by another command")
            return False
        self.started.submissions.append(submission)
        covered = f"{len(missing)} of {link.plan.num_shards} shards"
        self.started.lines.append(
            f"{key}: {covered} in {submission.num_elements} elements, submission {submission.name}{_ids(submission)}"
        )
        self.after, self.waits = last_job(submission), True
        if left := len(unfinished) - len(missing):
            self.started.lines.append(f"{key}: {left} of its shards left open, with what builds on them, for resume")
        return not left

    def _join(self, link: Link, submission: Submission) -> bool:
        """Take note of a submission that is alive; one whose command died before its seal job gets that job now."""
        key = link.phase.key
        if submission.cluster == "slurm" and not submission.record.get("seal_jobs"):
            if is_being_submitted(submission) or not submission.record.get("array_jobs"):
                self.started.lines.append(
                    f"{key}: {submission.name} is being submitted by another command, or was left half-way; "
                    "run resume again when its jobs have ended"
                )
                return False
            if self.target is not None:
                from synthclip_hpc.launch.arrays import submit_seal
                from synthclip_hpc.launch.environment import environment_of

                with environment_of(submission.environment):
                    submission = submit_seal(self.run, link, submission, self.target)
        self.started.lines.append(f"{key}: already submitted as {submission.name}{_ids(submission)}")
        self.after, self.waits = last_job(submission), True
        return True

    def _wait_for_upstream(self, link: Link) -> str | None:
        """Return the seal job or submission to wait for when a phase upstream, not of this command, is still at work.

        Raises UserError when such a phase is neither sealed nor alive: nothing would ever release this one.
        """
        keys = {other.phase.key for other in self.links}
        for stage, name in link.phase.upstream(self.config):
            if f"{stage}/{name}" in keys or load_seal(self.run.phase(stage, name)) is not None:
                continue
            at_work = [one for one in self.alive if (one.stage, one.phase) == (stage, name)]
            if not at_work:
                raise UserError(
                    f"{link.phase.key} builds on {stage}/{name}, which is neither finished nor at work; "
                    f"run: python -m synthclip_hpc.resume run={self.run.path}"
                )
            return last_job(at_work[-1])
        return None

    def _submit(self, link: Link, missing: Sequence[int]) -> Submission | None:
        after = self.after
        if after is not None and after.isdigit() != (self.target is not None):
            raise UserError(
                f"{link.phase.key} would wait for {after}, which is at work on another cluster; "
                "submit this stage when it has finished"
            )
        claimed = self._claim_as_first(link, missing)
        if claimed is None:
            return None
        if self.target is None:
            self.local.append(claimed)
            return claimed
        from synthclip_hpc.launch.arrays import submit_claimed

        return submit_claimed(self.run, link, claimed, self.target)

    def _claim_as_first(self, link: Link, missing: Sequence[int]) -> Submission | None:
        """Claim a submission of this plan; None when another one of it is alive. Raises PlanReplaced.

        Once the claim is there nobody replaces the plan any more; until then another command may have, or be about it.
        """
        facts = provenance.of_submission(sys.argv)
        while True:
            claimed = self._claim(link, missing, facts)
            if claimed is None:
                continue  # the number was taken, perhaps for another phase: the next one
            try:
                earlier = earlier_living(self.run, claimed, assume_ended=self.assume_ended)
                check_bound(link.directory(self.run), link.plan)
            except BaseException:
                withdraw(claimed)
                raise
            if not earlier:
                return claimed
            withdraw(claimed)
            if all(one.cluster != NO_CLUSTER for one in earlier):
                return None
            time.sleep(_HELD_POLL_S)
            check_bound(link.directory(self.run), link.plan)  # before a claim that the other command would meet

    def _claim(self, link: Link, missing: Sequence[int], facts: dict[str, Any]) -> Submission | None:
        if self.target is None:
            from synthclip_hpc.launch import local

            return local.claim_link(self.run, link, missing, self.config, self.after, facts)
        from synthclip_hpc.launch import arrays

        return arrays.claim_link(self.run, link, missing, self.config, self.target, self.after, facts)


def last_job(submission: Submission) -> str:
    """Return what a later phase waits for: the seal job on Slurm, the submission itself under a local supervisor."""
    jobs = submission.record.get("seal_jobs")
    return str(jobs[-1]) if jobs else submission.name


def _ids(submission: Submission) -> str:
    return f" (jobs {', '.join(submission.job_ids)})" if submission.job_ids else ""
