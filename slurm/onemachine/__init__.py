"""A real Slurm cluster on one machine: munged, mariadbd, slurmdbd, slurmctld and N slurmd as the current user.

For developing and testing what talks to Slurm, with arrays, dependencies, preemption, requeue, node failure, accounting
and fake GPUs, and no container, systemd or root. From a shell::

    python -m slurm.onemachine up
    eval "$(python -m slurm.onemachine env)"
    srun -N2 --gpus-per-node=1 hostname
    python -m slurm.onemachine down

Partitions: `main` (default, never preempted), `low` and `low-grace` (requeued, at once or after a grace, when a job of
a higher partition needs the place) and `high`. Priority alone decides who preempts: `main` preempts the low ones too.

What it is not: all nodes share host name, network, file system and process table; there are no cgroups, so a job
process that leaves its process tree outlives its job (and the lab, if it has also cleared its environment); nothing
stands behind a GPU. slurmctld and slurmd listen on loopback only, provided that the machine's host name resolves to
127.0.0.1, and on all addresses otherwise; slurmdbd has no option for it and always listens on all. Each answers only
to holders of the lab's own munge key, which the lab's user alone can read. munged and mariadbd have no network port.
"""

from slurm.onemachine.faults import kill_node, kill_slurmd, resume_nodes, start_slurmd
from slurm.onemachine.lab import Lab, LabError, LabUsageError, default_directory, find
from slurm.onemachine.packages import install_advice, missing_programs
from slurm.onemachine.start import up
from slurm.onemachine.stop import down

__all__ = [
    "Lab",
    "LabError",
    "LabUsageError",
    "default_directory",
    "missing_programs",
    "install_advice",
    "find",
    "up",
    "down",
    "kill_slurmd",
    "kill_node",
    "start_slurmd",
    "resume_nodes",
]
