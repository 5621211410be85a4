"""Bring a lab up: the daemons in the order in which they need one another."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from slurm.onemachine import configuration, daemons, packages, processes
from slurm.onemachine.client import NODE_STATES_READY, node_states
from slurm.onemachine.directory import SUBDIRECTORIES, claim, wipe
from slurm.onemachine.lab import Lab, LabError, check_shape, checked_directory, find, new_lab, write_record
from slurm.onemachine.stop import kill_everything


def up(
    directory: Path | None = None,
    nodes: int = 4,
    cpus: int = 8,
    gpus: int = 4,
    *,
    grace_s: int = 10,
    memory_mb: int = 32000,
    kill_wait_s: int = 5,
    slurmd_timeout_s: int = 30,
    max_array_size: int = 1001,
    keep: bool = False,
    timeout_s: float = 60.0,
    say: Callable[[str], None] = lambda line: None,
) -> Lab:
    """Start a cluster and return when every node takes jobs.

    A lab that already runs in `directory` is returned as it is, whatever its shape. What a crashed lab left there is
    stopped and removed first; `keep` goes on from its files instead, queue and accounting included. A start that fails
    stops what it had started and leaves the logs.

    Args:
        directory: holds everything; default one per user, see `default_directory`.
        nodes, cpus, gpus, memory_mb: how many slurmd, and what each claims to have.
        grace_s: GraceTime of the partition `low-grace`.
        kill_wait_s: seconds between SIGTERM and SIGKILL.
        slurmd_timeout_s: seconds without contact until a node is down.
        max_array_size: Slurm's MaxArraySize.
        keep: start from the files of the lab that was there before.
        timeout_s: limit for each daemon to serve, and for all nodes together to be ready.
        say: receives one line per step.

    Raises:
        LabUsageError: a number or path that cannot work, or a directory which is somebody else's.
        LabError: programs are missing, or a daemon did not start; the message ends with its log.
    """
    shape = {
        "nodes": nodes,
        "cpus": cpus,
        "gpus": gpus,
        "memory_mb": memory_mb,
        "grace_s": grace_s,
        "kill_wait_s": kill_wait_s,
        "slurmd_timeout_s": slurmd_timeout_s,
        "max_array_size": max_array_size,
    }
    missing = packages.missing_programs()
    if missing:
        raise LabError(packages.install_advice(missing))
    check_shape(shape)
    path = checked_directory(directory, nodes)
    with claim(path):
        running = find(path)
        if running is not None:
            return running
        if kill_everything(path):
            say("stopped what a crashed lab had left running")
        if not keep and wipe(path):
            say("removed the files of an earlier lab")
        lab = new_lab(path, shape)
        try:
            _start(lab, keep, timeout_s, say)
        except BaseException:
            kill_everything(path)
            raise
        write_record(lab)
        return lab


def _start(lab: Lab, keep: bool, timeout_s: float, say: Callable[[str], None]) -> None:
    _write_files(lab)
    daemons.start_munged(lab, timeout_s)
    daemons.start_mariadbd(lab, timeout_s)
    say("munged and mariadbd are up")
    daemons.start_slurmdbd(lab, timeout_s)
    say("slurmdbd is up")
    daemons.start_slurmctld(lab, timeout_s)
    if keep:
        daemons.declare_down(lab, lab.node_names)
    daemons.start_slurmds(lab, lab.node_names, timeout_s)
    say(f"slurmctld and {lab.nodes} slurmd are up")
    if not processes.wait_until(lambda: _all_ready(lab), timeout_s, poll_s=0.1):
        raise LabError(
            f"nodes are not ready after {timeout_s:g} s: {node_states(lab)}\n"
            f"{daemons.log_tail(lab.directory, 'slurmctld')}"
        )
    say("all nodes are ready")


def _write_files(lab: Lab) -> None:
    for name in SUBDIRECTORIES:
        (lab.directory / name).mkdir(mode=0o700, exist_ok=True)
    for path, text in configuration.files(lab).items():
        processes.write_atomically(path, text)
    for device in configuration.gpu_devices(lab):
        if not device.is_symlink():
            device.symlink_to("/dev/null")
    key = lab.directory / "munge" / "key"
    if not key.exists():
        processes.write_atomically(key, secrets.token_hex(64))


def _all_ready(lab: Lab) -> bool:
    try:
        states = node_states(lab)
    except LabError:
        # The controller refuses to answer until it has read its state.
        return False
    return len(states) == lab.nodes and set(states.values()) <= NODE_STATES_READY
