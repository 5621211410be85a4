"""`cluster=slurm`: one phase as an array, and the small job that seals it and so releases what follows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from slurm.profiles import Profile, Resources, load_profile
from slurm.submission import JobRequest, SubmissionRefused, render_script, submit_array, submit_job
from synthclip_hpc.config import RunConfig, SlurmConfig
from synthclip_hpc.config.slurm import OWN_KEYS
from synthclip_hpc.config_files import to_table
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.chain import Link
from synthclip_hpc.launch.environment import present
from synthclip_hpc.launch.nodes import parse_nodes
from synthclip_hpc.log_files import array_log, seal_log
from synthclip_hpc.processes import identify
from synthclip_hpc.run import Run
from synthclip_hpc.stage_order import STAGES
from synthclip_hpc.submissions import Submission, claim, update, withdraw

if TYPE_CHECKING:
    from synthclip_hpc.stages.phase import Phase


@dataclass(frozen=True)
class Target:
    """A cluster: its name, its profile, what the command line overrides, and the environment its tools need."""

    cluster: str
    profile: Profile
    overrides: dict[str, Any]
    environment: dict[str, str | None]
    exclude_also: str | None = None
    """Nodes to leave alone besides those of the profile."""

    def resources(self, phase: Phase) -> Resources:
        """Return what a phase's jobs ask for."""
        if phase.jobs_like is not None:
            return self._sparing(self.profile.for_stage(phase.jobs_like, self._place()))
        return self._sparing(self.profile.for_stage(phase.stage, self.overrides))

    def seal_resources(self) -> Resources:
        """Return what seal jobs ask for: a minute of one CPU on the same account, whatever the stage wanted."""
        return self._sparing(self.profile.for_stage("seal", self._place()))

    def _sparing(self, resources: Resources) -> Resources:
        nodes = [one for one in (resources.exclude, self.exclude_also) if one]
        return replace(resources, exclude=",".join(nodes)) if self.exclude_also else resources

    def _place(self) -> dict[str, Any]:
        return {key: value for key, value in self.overrides.items() if key in _PLACE}


# Overrides that say where a job runs and how it starts; how much it gets is not for jobs of another size.
_PLACE = {"partition", "account", "qos", "exclude", "python", "setup", "srun_args", "container"}


def find_target(config: RunConfig, cluster: str) -> Target:
    """Resolve cluster and profile.

    `onemachine` uses the running one-machine cluster; when there is none the message names the command that starts it.
    """
    name = config.slurm.profile
    if cluster == "onemachine":
        from slurm.onemachine import find

        lab = find()
        if lab is None:
            raise UserError(
                "cluster=onemachine: no one-machine Slurm is running; start it: python -m slurm.onemachine up; "
                'or, where yours is in a directory of its own: eval "$(python -m slurm.onemachine env --dir DIR)"'
            )
        os.environ.update(lab.environment())
        name = name or "onemachine"
    given = {item.name: getattr(config.slurm, item.name) for item in fields(SlurmConfig) if item.name not in OWN_KEYS}
    overrides = {key: value for key, value in given.items() if value is not None}
    profile = load_profile(name, stages=(*STAGES, "seal")) if name else Profile("none")
    return Target(cluster, profile, overrides, present(), parse_nodes("slurm.exclude_also", config.slurm.exclude_also))


def num_elements(target: Target, phase: Phase, num_missing: int) -> int:
    """Return how many array elements share the missing shards."""
    return max(1, min(num_missing, target.resources(phase).elements))


def array_request(run: Run, link: Link, target: Target, submission: str, dependency: str | None) -> JobRequest:
    """Return the request of a phase's array; `submission` is its folder's name, `NUMBER-…` before there is one."""
    stage = link.phase.stage
    base = run.job_name(stage, link.phase.name) if run.exists() else f"synthclip-NEW-{stage}-{link.phase.name}"
    number = submission.split("-")[0]
    return JobRequest(
        name=f"{base}-{int(number) if number.isdigit() else number}",
        folder=run.submissions_path / submission,
        log=str(array_log(run, stage, submission)),
        resources=_of_phase(link, target.resources(link.phase)),
        dependency=dependency,
    )


def _of_phase(link: Link, resources: Resources) -> Resources:
    """A gang is of no use without one of its nodes: srun ends all of it when one task fails."""
    if link.phase.kind != "gang":
        return resources
    return replace(resources, srun_args=(*resources.srun_args, "--kill-on-bad-exit=1"))


def script_of(run: Run, link: Link, target: Target, num_missing: int) -> str:
    """Return the sbatch script a submission would send, for `dry-run`."""
    request = array_request(run, link, target, f"NUMBER-{link.phase.stage}", None)
    return render_script(request, num_elements(target, link.phase, num_missing))


def claim_link(
    run: Run,
    link: Link,
    missing: Sequence[int],
    config: RunConfig,
    target: Target,
    after: str | None,
    provenance: dict[str, Any],
) -> Submission | None:
    """Claim a submission for the missing shards of a phase; None when another command was faster."""
    phase = link.phase
    resources = target.resources(phase)
    record = {
        "cluster": "slurm",
        "cluster_option": target.cluster,
        "stage": phase.stage,
        "phase": phase.name,
        "plan_hash": link.plan.hash,
        "num_shards": len(missing),
        "num_elements": num_elements(target, phase, len(missing)),
        "config": to_table(config),
        "claimer": identify(os.getpid()),
        "job_name": run.job_name(phase.stage, phase.name),
        "time_min": resources.time_min,
        "signal_lead_s": resources.effective_signal_lead_s,
        "asked": {key: getattr(resources, key) for key in ("nodes", "throttle", "cpus", "num_gpus")},
        "environment": target.environment,
        "after": after,
        "provenance": provenance,
    }
    return claim(run, phase.stage, missing, record)


def submit_claimed(run: Run, link: Link, claimed: Submission, target: Target) -> Submission:
    """Submit the array(s) of a claimed submission, and the seal job behind them.

    Raises SubmissionRefused with sbatch's words, or UserError when `cancel` came in between; what was submitted is then
    taken back, and the claim withdrawn, unless jobs may be left: then it stays, for `resume` and `cancel` to find them.
    """
    from synthclip_hpc import worker

    after = claimed.record["after"]
    arguments = [(str(run.path), claimed.name, index) for index in range(claimed.num_elements)]
    arrays: list[str] = []
    try:
        run.logs(link.phase.stage).mkdir(parents=True, exist_ok=True)
        request = array_request(run, link, target, claimed.name, f"afterok:{after}" if after else None)
        arrays = submit_array(request, worker.run_on_slurm, arguments)
        claimed = update(claimed, array_jobs=arrays, log=request.log)
        return submit_seal(run, link, claimed, target)
    except BaseException as error:
        # Ctrl-C as well: an array without its seal job would end, and nothing would follow.
        if not _take_back(claimed, error, arrays):
            withdraw(claimed)
        raise


def submit_seal(run: Run, link: Link, submission: Submission, target: Target) -> Submission:
    """Submit the seal job of a submission whose arrays are in the queue, and record it."""
    from synthclip_hpc import sealing

    _refuse_cancelled(submission)
    request = array_request(run, link, target, submission.name, None)
    seal = replace(
        request,
        name=submission.job_names[1],
        log=str(seal_log(run, link.phase.stage, submission.name)),
        resources=target.seal_resources(),
        dependency="afterany:" + ":".join(submission.record["array_jobs"]),
    )
    job = submit_job(seal, sealing.run_on_slurm, (str(run.path), submission.name))
    submission = update(submission, state="submitted", seal_jobs=[job])
    _refuse_cancelled(submission)
    return submission


def _refuse_cancelled(submission: Submission) -> None:
    if submission.is_cancelled():
        raise UserError(f"submission {submission.name} was cancelled while it was being submitted")


def _take_back(claimed: Submission, error: BaseException, arrays: Sequence[str]) -> bool:
    """Cancel whatever sbatch took; tell whether the claim must stay because jobs may be left."""
    from slurm.attempt import CancelRefused, cancel

    # An sbatch that got no answer may still be heard later; its job would look for this submission.
    uncertain = isinstance(error, SubmissionRefused) and (error.uncertain or bool(error.left_running))
    # A clear no to the first array: nothing is there, and where there is no sbatch there is no scancel either.
    if arrays or uncertain or not isinstance(error, SubmissionRefused):
        try:
            cancel(names=claimed.job_names)
        except CancelRefused:
            return True
    return uncertain or claimed.is_cancelled()
