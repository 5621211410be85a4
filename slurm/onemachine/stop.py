"""Take a lab down, whatever state it is in."""

from __future__ import annotations

from pathlib import Path

from slurm.onemachine import processes
from slurm.onemachine.directory import claim, is_lab_directory, remove, wipe
from slurm.onemachine.lab import Lab, LabError, checked_directory
from slurm.onemachine.membership import lab_processes

_ROUNDS = 10


def down(lab_or_directory: Lab | Path | None = None, keep: bool = False) -> bool:
    """Stop every daemon and job process of a lab and remove its files; False when there was no lab at all.

    Works on a running lab, a crashed one and a half-started one. With `keep` queue and accounting are saved and the
    files left for `up(keep=True)`; to running jobs that is a power failure: they are killed, and requeued by that `up`.

    Raises:
        LabUsageError: the directory is another user's, or holds files that are no lab's.
        LabError: a process cannot be killed.
    """
    directory = lab_or_directory.directory if isinstance(lab_or_directory, Lab) else checked_directory(lab_or_directory)
    if not is_lab_directory(directory):
        return False
    with claim(directory):
        if keep:
            _save(directory)
        kill_everything(directory)
        if not keep:
            wipe(directory)
            remove(directory)
    return True


def kill_everything(directory: Path) -> int:
    """SIGKILL every process of the lab, in rounds as they may be starting others; returns how many there were.

    Nothing is lost by SIGKILL: the files are about to be removed, or what matters in them has been saved.

    Raises:
        LabError: some are still there after all rounds.
    """
    killed = 0
    for _ in range(_ROUNDS):
        members = lab_processes(directory)
        if not members:
            return killed
        processes.kill(members)
        killed += len(members)
    pids = ", ".join(str(process.pid) for process in sorted(members, key=lambda process: process.pid))
    raise LabError(f"processes of the lab in {directory} do not end: {pids}; look at them with `ps -fp {pids}`")


def _save(directory: Path) -> None:
    # The controller writes its queue when asked to end, and sends its last records to slurmdbd, and that to mariadbd.
    nodes = [name for name in processes.recorded_names(directory) if name.startswith("slurmd.")]
    for names in (["slurmctld"], nodes, ["slurmdbd"], ["mariadbd"]):
        found = (processes.recorded(directory, name) for name in names)
        processes.stop(process for process in found if process is not None)
