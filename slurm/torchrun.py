"""torchrun on the nodes of one job: who starts it where, and the command. No torch here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# After a rank has ended by itself the others of its node get this long to end. They look at no signal: see `command`.
_AFTER_A_DEATH_S = 2


@dataclass(frozen=True)
class Node:
    """One node of a job that runs one task on each: what that task knows of its place."""

    rank: int
    """0 for the node of the job's first task, which the others meet at."""
    count: int
    name: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], name: str) -> Node:
        """The node of the present task of a Slurm step, or of a process outside of Slurm (one node)."""
        count = int(environ.get("SLURM_NTASKS") or 1)
        rank = int(environ.get("SLURM_PROCID") or 0)
        return cls(rank, count, environ.get("SLURMD_NODENAME") or name)


@dataclass(frozen=True)
class Meeting:
    """Where the launchers of all nodes meet."""

    address: str
    port: int
    timeout_s: int


def torchrun_arguments(
    node: Node, meeting: Meeting, processes: str, module: str, arguments: Sequence[str]
) -> list[str]:
    """What torchrun is given to run `python -m module arguments…` as so many `processes` (a number, or `gpu`) a node.

    Static rendezvous: the first node's ranks come first, and no store outlives its round. A round has no restarts of
    its own; whoever starts torchrun starts the next one, on all nodes, when one has failed.
    """
    return [
        f"--nnodes={node.count}",
        f"--node-rank={node.rank}",
        f"--nproc-per-node={processes}",
        f"--master-addr={meeting.address}",
        f"--master-port={meeting.port}",
        f"--rdzv-conf=timeout={meeting.timeout_s}",
        "--max-restarts=0",
        "--module",
        module,
        *arguments,
    ]


def torchrun_environment() -> dict[str, str]:
    """What torchrun reads from its environment rather than from its arguments, which older ones would refuse."""
    return {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_AFTER_A_DEATH_S)}


def launcher_command(launcher_module: str, parent_pid: int, arguments: Sequence[str]) -> list[str]:
    """The command of one node's launcher: a module of the caller's that runs torchrun after what must come first."""
    return [sys.executable, "-u", "-m", launcher_module, str(parent_pid), *arguments]
