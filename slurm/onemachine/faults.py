"""Node faults, for tests and drills: what a cluster does to jobs on its bad days."""

from __future__ import annotations

from pathlib import Path

from slurm.onemachine import daemons, processes
from slurm.onemachine.client import ask, node_states
from slurm.onemachine.lab import Lab, LabError, LabUsageError
from slurm.onemachine.membership import node_processes

_ROUNDS = 10


def kill_slurmd(lab: Lab, node: str) -> None:
    """The node loses contact and its jobs live on, as behind a broken network.

    After SlurmdTimeout Slurm requeues the jobs, while the old processes go on writing: two attempts at once.

    Raises:
        LabUsageError: no such node.
    """
    _check(lab, node)
    process = processes.recorded(lab.directory, f"slurmd.{node}")
    if process is not None:
        processes.kill([process])


def kill_node(lab: Lab, node: str) -> None:
    """The node loses power: slurmd, its slurmstepds and every job process on it get SIGKILL.

    Raises:
        LabUsageError: no such node.
        LabError: a process cannot be killed.
    """
    kill_slurmd(lab, node)
    _lost_power(lab, node).touch()
    for _ in range(_ROUNDS):
        members = node_processes(lab.directory, node)
        if not members:
            return
        processes.kill(members)
    raise LabError(f"processes of node {node} do not end: {sorted(process.pid for process in members)}")


def start_slurmd(lab: Lab, node: str, timeout_s: float = 30.0) -> None:
    """The node comes back: its slurmd is started and serves; one that is alive is left alone.

    After `kill_node` its jobs are requeued, as after a reboot; after `kill_slurmd` the living ones are found again.

    Raises:
        LabUsageError: no such node.
        LabError: slurmd does not start; the message ends with its log.
    """
    _check(lab, node)
    if _lost_power(lab, node).exists():
        daemons.declare_down(lab, [node])
        _lost_power(lab, node).unlink()
    daemons.start_slurmds(lab, [node], timeout_s)


def resume_nodes(lab: Lab) -> list[str]:
    """Return drained, draining, failed and down nodes to service; gives their names.

    A node without a slurmd needs `start_slurmd` first.

    Raises:
        LabError: the controller does not answer or refuses.
    """
    states = node_states(lab)
    resumed = [node for node, state in states.items() if state.startswith(("drain", "down", "fail"))]
    if resumed:
        ask(lab, "scontrol", "update", f"nodename={','.join(resumed)}", "state=resume")
    return resumed


def _lost_power(lab: Lab, node: str) -> Path:
    return lab.directory / "pid" / f"{node}.lost-power"


def _check(lab: Lab, node: str) -> None:
    if node not in lab.node_names:
        raise LabUsageError(f"node: got {node!r}; valid are {', '.join(lab.node_names)}")
