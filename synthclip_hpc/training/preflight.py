"""What can be known before a training job starts: looked at by `submit`."""

from __future__ import annotations

import sys

from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.packages import is_found, missing_in
from synthclip_hpc.place import Place
from synthclip_hpc.training.settings import check_world

_PACKAGES = ("torch", "open_clip", "simplejpeg", "safetensors")


def check_place(train: TrainConfig, place: Place) -> None:
    """Raise UserError when ranks could not train where they are going to run."""
    if train.device == "cuda" and place.num_gpus == 0:
        ask = "run on a machine with one" if place.cluster == "local" else "ask for some: slurm.gpus_per_node=8"
        raise UserError(f"train.device=cuda: there is no GPU; {ask}, or train a small model with train.device=cpu")
    if train.device == "cuda" and train.processes_per_node > place.num_gpus:
        raise UserError(
            f"train.processes_per_node={train.processes_per_node}: a node has {place.num_gpus} GPUs; "
            "leave it out for one process each"
        )
    processes = train.processes_per_node or (place.num_gpus if train.device == "cuda" else 1)
    check_world(train, place.num_nodes * processes)
    if place.container is None:
        _check_packages(train, place)


def _check_packages(train: TrainConfig, place: Place) -> None:
    wanted = dict.fromkeys(_PACKAGES, "the extra: pip install 'synthclip-hpc[train]'")
    if train.tensorboard:
        wanted["tensorboard"] = "it: pip install tensorboard (or train.tensorboard=false)"
    if train.wandb is not None:
        wanted["wandb"] = "it: pip install wandb (or leave train.wandb out)"
    python = place.python or [sys.executable]
    if place.python is None and all(is_found(name) for name in wanted):
        return
    if missing := missing_in(python, list(wanted)):
        where = "here" if place.python is None else f"by slurm.python={' '.join(place.python)}"
        raise UserError(f"stage=train: {', '.join(missing)} not found {where}; install {wanted[missing[0]]}")
