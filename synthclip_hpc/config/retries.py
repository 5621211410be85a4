"""How often an element may be interrupted."""

from __future__ import annotations

from dataclasses import dataclass

from synthclip_hpc.config.roles import execution


@dataclass(frozen=True)
class RetriesConfig:
    """How often an element may be interrupted, by cause, before it gives up and waits for `resume`."""

    timeouts: int = execution(100)
    """Restarts after reaching the time limit."""
    preemptions: int = execution(1000)
    """Restarts after preemption."""
    node_failures: int = execution(10)
    """Restarts after losing the node."""
    errors: int = execution(3)
    """Shards that may fail with an error of our own before the attempt ends."""
    unknown: int = execution(20)
    """Restarts whose cause nobody could tell (a worker found dead, one that accounting cannot explain)."""
    unfit_nodes: int = execution(3)
    """Restarts after finding a node unfit (dead GPUs, a broken mount), each on another node."""
    check_nodes: bool = execution(True)
    """Look whether a node is fit before work begins there."""
