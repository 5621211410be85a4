"""`cluster=slurm`: one phase as an array, and the small job that seals it and so releases what follows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from slurm.profiles import Profile, ProfileError, Resources, load_profile
from slurm.submission import JobRequest, SubmissionRefused, render_script, submit_array, submit_job
from synthclip_hpc.config import RunConfig, SlurmConfig
from synthclip_hpc.config_files import to_table
from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.chain import Link
from synthclip_hpc.pipeline import STAGES
from synthclip_hpc.processes import identify
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, claim, update, withdraw


@dataclass(frozen=True)
class Target:
    """A cluster: its profile, what the command line overrides, and the environment its tools need."""

    profile: Profile
    overrides: dict[str, Any]
    environment: dict[str, str]

    def resources(self, stage: str) -> Resources:
        """Return what a stage's jobs ask for."""
        return self.profile.for_stage(stage, self.overrides)

    def seal_resources(self) -> Resources:
        """Return what seal jobs ask for: a minute of one CPU on the same account, whatever the stage wanted."""
        place = {key: value for key, value in self.overrides.items() if key in _PLACE}
        return self.profile.for_stage("seal", place)


# Overrides that say where a job runs and how it starts; how much it gets is not for the seal job.
_PLACE = {"partition", "account", "qos", "exclude", "python", "setup", "srun_args", "container"}


def find_target(config: RunConfig, cluster: str) -> Target:
    """Resolve cluster and profile.

    `onemachine` uses the running one-machine cluster; when there is none the message names the command that starts it.
    """
    environment: dict[str, str] = {}
    name = config.slurm.profile
    if cluster == "onemachine":
        from slurm.onemachine import find

        lab = find()
        if lab is None:
            raise UserError(
                "cluster=onemachine: no one-machine Slurm is running; start it: python -m slurm.onemachine up"
            )
        environment = lab.environment()
        os.environ.update(environment)
        name = name or "onemachine"
    elif os.environ.get("SLURM_CONF"):
        environment = {"SLURM_CONF": os.environ["SLURM_CONF"]}
    given = {item.name: getattr(config.slurm, item.name) for item in fields(SlurmConfig) if item.name != "profile"}
    overrides = {key: value for key, value in given.items() if value is not None}
    return Target(load_profile(name, stages=(*STAGES, "seal")) if name else Profile("none"), overrides, environment)


def num_elements(target: Target, stage: str, num_missing: int) -> int:
    """Return how many array elements share the missing shards."""
    return max(1, min(num_missing, target.resources(stage).elements))


def array_request(run: Run, link: Link, target: Target, name: str, dependency: str | None) -> JobRequest:
    """Return the request of a phase's array; `name` is the submission's folder."""
    log = run.logs(link.phase.stage) / f"{name}_%A_%a.log"
    return JobRequest(
        name=run.job_name(link.phase.stage, link.phase.name)
        if run.exists()
        else f"synthclip-NEW-{link.phase.stage}-{link.phase.name}",
        folder=run.submissions_path / name,
        log=str(log),
        resources=target.resources(link.phase.stage),
        dependency=dependency,
    )


def script_of(run: Run, link: Link, target: Target, num_missing: int) -> str:
    """Return the sbatch script a submission would send, for `dry-run`."""
    request = array_request(run, link, target, f"NUMBER-{link.phase.stage}", None)
    return render_script(request, num_elements(target, link.phase.stage, num_missing))


def submit_link(
    run: Run,
    link: Link,
    missing: Sequence[int],
    config: RunConfig,
    target: Target,
    after: str | None,
    provenance: dict[str, Any],
    is_first: Any,
) -> Submission | None:
    """Claim and submit a phase: its array(s), then the seal job behind them. None when another command was faster.

    `after` is the seal job that must succeed first. `is_first(submission)` tells, after the claim, whether no other
    submission covers the phase. Raises SubmissionRefused with sbatch's words; nothing is left behind then.
    """
    from synthclip_hpc import sealing, worker

    phase = link.phase
    elements = num_elements(target, phase.stage, len(missing))
    resources = target.resources(phase.stage)
    names = [run.job_name(phase.stage, phase.name), run.job_name(phase.stage, f"{phase.name}-seal")]
    claimed = claim(
        run,
        phase.stage,
        missing,
        {
            "cluster": "slurm",
            "stage": phase.stage,
            "phase": phase.name,
            "plan_hash": link.plan.hash,
            "num_shards": len(missing),
            "num_elements": elements,
            "config": to_table(config),
            "claimer": identify(os.getpid()),
            "job_names": names,
            "time_min": resources.time_min,
            "signal_lead_s": resources.effective_signal_lead_s,
            "environment": target.environment,
            "after": after,
            "provenance": provenance,
        },
    )
    if claimed is None:
        return None
    if not is_first(claimed):
        withdraw(claimed)
        return None
    arguments = [(str(run.path), claimed.name, index) for index in range(elements)]
    arrays: list[str] = []
    try:
        run.logs(phase.stage).mkdir(parents=True, exist_ok=True)
        request = array_request(run, link, target, claimed.name, f"afterok:{after}" if after else None)
        arrays = submit_array(request, worker.run_on_slurm, arguments)
        claimed = update(claimed, array_jobs=arrays)
        seal = replace(
            request,
            name=names[1],
            log=str(run.logs(phase.stage) / f"{claimed.name}_seal_%j.log"),
            resources=target.seal_resources(),
            dependency="afterany:" + ":".join(arrays),
        )
        seal_job = submit_job(seal, sealing.run_on_slurm, (str(run.path), claimed.name))
    except (SubmissionRefused, ProfileError, OSError) as error:
        left_running = _take_back(arrays) if arrays else getattr(error, "left_running", ())
        if left_running:
            # Their elements may start at any moment and look for the submission: it stays, and counts as alive.
            update(claimed, state="submitted", array_jobs=list(left_running))
            raise SubmissionRefused(getattr(error, "words", str(error)), left_running) from error
        withdraw(claimed)
        raise
    return update(claimed, state="submitted", seal_jobs=[seal_job], log=request.log)


def _take_back(arrays: list[str]) -> tuple[str, ...]:
    """Cancel the arrays of a submission that cannot be finished; return those that could not be cancelled."""
    from slurm.attempt import CancelRefused, cancel

    try:
        cancel(arrays)
    except CancelRefused:
        return tuple(arrays)
    return ()
