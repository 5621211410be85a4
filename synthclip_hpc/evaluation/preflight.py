"""What can be known before an evaluation's jobs start: looked at by `submit`."""

from __future__ import annotations

import sys

from synthclip_hpc.config.eval import EvalConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.reusing import Reuse
from synthclip_hpc.models.packages import is_found, missing_in
from synthclip_hpc.place import Place

_PACKAGES = ("torch", "open_clip", "PIL", "safetensors")


def check_place(settings: EvalConfig, place: Place) -> None:
    """Raise UserError when cells could not be made where they are going to be."""
    if settings.device == "cuda" and place.num_gpus == 0:
        ask = "run on a machine with one" if place.cluster == "local" else "ask for one: slurm.gres=gpu:1"
        raise UserError(f"eval.device=cuda: there is no GPU; {ask}, or evaluate with eval.device=cpu")
    Reuse(settings.reuse)  # raises for what is no run
    if place.container is not None or (place.python is None and all(is_found(name) for name in _PACKAGES)):
        return
    if missing := missing_in(place.python or [sys.executable], _PACKAGES):
        where = "here" if place.python is None else f"by slurm.python={' '.join(place.python)}"
        raise UserError(
            f"stage=eval: {', '.join(missing)} not found {where}; install the extra: pip install 'synthclip-hpc[train]'"
        )
