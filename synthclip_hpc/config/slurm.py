"""What Slurm is asked for."""

# ruff: noqa: UP007, UP045, RUF036
# Optional[X], and Union with None in front of a tuple: for `X | None`, and to test a default against a tuple, tyro
# imports typeguard, a third of the time that `--help` takes.

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from synthclip_hpc.config.roles import execution


@dataclass(frozen=True)
class SlurmConfig:
    """What Slurm is asked for. A key given here wins over the profile's `[default]` and `[stage.NAME]` tables."""

    profile: Optional[str] = execution(None)
    """Cluster profile: `onemachine`, `a100-preemptible`, `container`, or the path of a TOML file."""
    partition: Optional[str] = execution(None)
    """Partition."""
    account: Optional[str] = execution(None)
    """Account to charge."""
    qos: Optional[str] = execution(None)
    """Quality of service."""
    constraint: Optional[str] = execution(None)
    """Node features, as sbatch takes them."""
    gres: Optional[str] = execution(None)
    """Generic resources a node, e.g. `gpu:1`."""
    exclude: Optional[str] = execution(None)
    """Nodes to avoid, e.g. `n1,n7`."""
    exclude_also: Optional[str] = execution(None)
    """Nodes to avoid besides those that `exclude` or the profile names."""
    nodes: Optional[int] = execution(None)
    """Nodes for one job."""
    tasks_per_node: Optional[int] = execution(None)
    """Tasks on each node."""
    cpus: Optional[int] = execution(None)
    """CPUs for a task."""
    gpus_per_node: Optional[int] = execution(None)
    """GPUs on each node."""
    memory: Optional[str] = execution(None)
    """Memory a node, e.g. `8G`."""
    time_min: Optional[int] = execution(None)
    """Time limit in minutes."""
    elements: Optional[int] = execution(None)
    """At most so many array elements in a submission; each works through its share of the shards."""
    throttle: Optional[int] = execution(None)
    """At most so many elements at once (0 = no limit)."""
    max_array_size: Optional[int] = execution(None)
    """The cluster's MaxArraySize (0 = ask the cluster)."""
    python: Optional[str] = execution(None)
    """Python to start on the nodes (default: the one that submits)."""
    setup: Union[None, tuple[str, ...]] = execution(None)
    """Shell lines to run first on the node, e.g. `module load cuda`."""
    srun_args: Union[None, tuple[str, ...]] = execution(None)
    """Further arguments for srun."""
    container: Optional[str] = execution(None)
    """Container command put before python, e.g. `apptainer exec --nv image.sif`."""
    signal_lead_s: Optional[int] = execution(None)
    """Warning time before the time limit, in seconds."""
    confirm_gpu_hours: float = execution(100.0)
    """GPU hours above which `submit` asks first; where nobody can be asked it wants `yes=true`."""
    gpu_watts: float = execution(400.0)
    """What one GPU draws at work, for the energy of `dry-run` (an A100's limit: 400)."""


# Keys that are the commands' own: no profile may name them, and Slurm is never asked for them.
OWN_KEYS = ("profile", "exclude_also", "confirm_gpu_hours", "gpu_watts")
