"""A job as this package submits it, and its translation into submitit's parameters: the only place that knows both."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .arrays import ArrayPart
from .resources import ProfileError, Resources, command_words, one_line

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_DEPENDENCY = re.compile(r"[A-Za-z0-9_:+,?]+")
_LOG_PATTERN = re.compile(r"%(?![Aaj])")
_STOP_SIGNAL = "USR2"


@dataclass(frozen=True)
class JobRequest:
    """What to submit, less the function. Checked on construction: raises ProfileError for what Slurm would misread."""

    name: str
    """Job name: letters, digits, `.`, `_`, `-`; unique enough to find the jobs again by it."""
    folder: Path
    """Where submitit keeps its files: of this submission alone, and seen by all nodes."""
    log: str
    """Log file of an element: an absolute path with `%A` (array), `%a` (index) or `%j` (job)."""
    resources: Resources
    dependency: str | None = None
    """As sbatch takes it, e.g. `afterok:12:13,afterany:14`."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ProfileError(
                f"job name {self.name!r} is not valid; use 1 to 200 letters, digits, '.', '_' and '-', "
                "because Slurm's lists of names have no quotes"
            )
        folder = one_line("the submission folder", str(self.folder.absolute()))
        log = one_line("the log file", self.log)
        if "%" in folder:
            raise ProfileError(
                f"the submission folder is {folder!r}; Slurm gives '%' a meaning; use another run directory"
            )
        if not log.startswith("/"):
            raise ProfileError(f"the log file is {log!r}; it must be an absolute path")
        if "\\" in log or _LOG_PATTERN.search(log):
            raise ProfileError(
                f"the log file is {log!r}; Slurm gives '%' and '\\' a meaning there, so that only %A, %a and %j "
                "may stand in it; use another run directory"
            )
        if self.dependency is not None and not _DEPENDENCY.fullmatch(self.dependency):
            raise ProfileError(f"dependency {self.dependency!r} is not valid; expected e.g. 'afterok:12:13'")

    def check_array(self) -> None:
        """Raise ProfileError unless each element of an array gets a log file of its own."""
        if "%a" not in self.log:
            raise ProfileError(f"the log file of an array is {self.log!r}; without %a all elements would write to one")


def python_command(resources: Resources) -> str:
    """What starts python on the node: container, then python, each word quoted for a shell."""
    words = command_words("slurm.container", resources.container or "")
    python = command_words("slurm.python", resources.python) if resources.python else [sys.executable]
    return shlex.join(words + python)


def submitit_parameters(request: JobRequest, part: ArrayPart | None, after: str | None = None) -> dict[str, Any]:
    """Keyword arguments for SlurmExecutor.update_parameters. `part` None or of one element: a plain job.

    `after` is the id of the array that this one waits for.
    """
    resources = request.resources
    is_array = part is not None and part.count > 1
    log = request.log
    if not is_array:
        # submitit submits a lone element as a plain job, and Slurm would fill in 4294967294 for its %a.
        log = log.replace("%A", "%j").replace("%a", "0")
    dependency = ",".join(text for text in (request.dependency, after and f"afterany:{after}") if text)
    sbatch: dict[str, Any] = {
        "output": log,
        "open-mode": "append",  # a requeued element must not wipe the log of its earlier life
        "requeue": True,
        "kill-on-invalid-dep": "yes",
        # To the step, not to the batch shell, which could not pass it on. Set here because submitit takes the name of
        # the signal from the environment.
        "signal": f"{_STOP_SIGNAL}@{resources.effective_signal_lead_s}",
    }
    if is_array and part is not None:
        sbatch["array"] = f"0-{part.count - 1}" + (f"%{part.throttle}" if part.throttle else "")
    return {
        "job_name": request.name,
        "time": resources.time_min,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": resources.cpus,
        "gpus_per_node": resources.gpus_per_node or None,
        "mem": resources.memory,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "gres": resources.gres,
        "exclude": resources.exclude,
        "dependency": dependency or None,
        "wckey": None,  # clusters that track workload keys refuse submitit's default
        "stderr_to_stdout": True,
        "signal_delay_s": resources.effective_signal_lead_s,
        # submitit in the job reads the name of its signal from here, and fails on a name that it does not know.
        "setup": [f"export SUBMITIT_PREEMPT_SIGNAL={_STOP_SIGNAL}", *resources.setup],
        "additional_parameters": sbatch,
        # srun's last --output counts. Since Slurm 22.05 srun does not take --cpus-per-task from sbatch any more.
        "srun_args": [
            f"--output={log}",
            "--open-mode=append",
            f"--cpus-per-task={resources.cpus}",
            *resources.srun_args,
        ],
    }
