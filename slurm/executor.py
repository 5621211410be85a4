"""submitit, set up for one array or job, and the environment in which its sbatch runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .arrays import ArrayPart
from .request import JobRequest, python_command, submitit_parameters

_OWN_PREFIXES = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_")
_KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SBATCH_CLUSTERS", "SBATCH_RESERVATION"}
# Sites and users set these as defaults: they hold as long as the profile does not say otherwise.
_KEPT_UNLESS_GIVEN = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
}


def make_executor(request: JobRequest, folder: Path, part: ArrayPart, after: str | None) -> Any:
    """A submitit.SlurmExecutor that submits this part of a request with its files in `folder`.

    `after` is the id of the array that must end first. Raises RuntimeError if srun is not on the PATH.
    """
    import submitit

    executor = submitit.SlurmExecutor(folder, max_num_timeout=0, python=python_command(request.resources))
    executor.update_parameters(**submitit_parameters(request, part, after))
    return executor


@contextlib.contextmanager
def submission_environment(request: JobRequest, **changes: str) -> Iterator[None]:
    """Within it, os.environ is what sbatch may see: no variables that belong to another job or overrule the script.

    sbatch prefers SBATCH_* to the script, and hands its whole environment to the job; submitted from inside a job, the
    new one would take itself for that other job.
    """
    removed = {key: value for key, value in os.environ.items() if key in changes or _is_foreign(key, request)}
    for key in removed:
        del os.environ[key]
    os.environ.update(changes)
    try:
        yield
    finally:
        for key in changes:
            os.environ.pop(key, None)
        os.environ.update(removed)


def _is_foreign(key: str, request: JobRequest) -> bool:
    if key in _KEPT_UNLESS_GIVEN:
        return getattr(request.resources, _KEPT_UNLESS_GIVEN[key]) is not None
    return key.startswith(_OWN_PREFIXES) and key not in _KEPT
