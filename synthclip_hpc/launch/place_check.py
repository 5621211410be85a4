"""Where to start: which cluster is meant, and whether the work can be done there."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence

from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.launch.chain import Link, is_sealed, local_workers, missing_shards
from synthclip_hpc.place import Place, local_place
from synthclip_hpc.run import Run
from synthclip_hpc.stages.phase import check_tasks

CLUSTERS = ("auto", "local", "slurm", "onemachine")


def resolve_cluster(cluster: str) -> str:
    """Turn `auto` into `slurm` when sbatch is on the PATH, else `local`; refuse an unknown name."""
    if cluster not in CLUSTERS:
        raise UserError(f"cluster={cluster}: no such cluster{nearest(cluster, CLUSTERS)}. Valid: {', '.join(CLUSTERS)}")
    if cluster == "auto":
        return "slurm" if shutil.which("sbatch") else "local"
    return cluster


def check_places(run: Run, links: Sequence[Link], config: RunConfig, cluster: str) -> None:
    """Refuse what would be asked for in vain, before anything is written: of Slurm, and of where workers will run.

    Raises UserError or ProfileError.
    """
    target = None
    if cluster != "local":
        from synthclip_hpc.launch.arrays import find_target

        target = find_target(config, cluster)
    for link in links:
        if link.phase.inline or not link.plan.num_shards or is_sealed(run, link):
            continue
        if target is None:
            local_workers(config, link.phase)  # raises for a number that cannot be
            place = local_place()
        else:
            resources = target.resources(link.phase)
            check_tasks(link.phase.kind, resources)
            python = shlex.split(resources.python) if resources.python else None
            place = Place(cluster, resources.num_gpus, python, resources.container, resources.nodes)
        # With all shards there only the seal is wanting, which needs nothing of what made them.
        if link.phase.check_place is not None and missing_shards(run, link):
            link.phase.check_place(config, place)
