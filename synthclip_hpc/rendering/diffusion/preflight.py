"""What can be known before a diffusion job starts: looked at by `submit`, so that no job dies for it an hour later."""

from __future__ import annotations

import sys

from synthclip_hpc.config.render import RenderConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.packages import ask, missing_here, missing_in
from synthclip_hpc.place import Place
from synthclip_hpc.rendering.diffusion.folder import PipelineFiles, find_pipeline, scheduler_class
from synthclip_hpc.rendering.diffusion.opening import unfit_scheduler
from synthclip_hpc.rendering.diffusion.recipe import settled

_PACKAGES = ("torch", "diffusers", "transformers", "accelerate")
# Importing a scheduler takes seconds and gigabytes of torch: another process does it, which then ends. The other names
# are only looked up: diffusers imports what is behind one when it is asked for it.
_QUESTION = """
import json, sys
import diffusers
there = set(dir(diffusers))
own = getattr(diffusers, sys.argv[1]) if sys.argv[1] in there else None
known = sorted({own.__name__, *own._compatibles} & there) if own else None
print(json.dumps({"pipeline": sys.argv[2] in there, "fitting": known}))
"""


def check_place(render: RenderConfig, place: Place, files: PipelineFiles | None = None) -> None:
    """Raise UserError when workers could not open the pipeline where they are going to run.

    `files` are the pipeline's, if they have been found already.
    """
    files = files or find_pipeline(settled(render))
    _check_packages(place)
    _check_gpu(render, place)
    _check_scheduler(render, files, place)


def _check_packages(place: Place) -> None:
    if place.container is not None:
        return  # what is in an image can only be seen from within
    missing = missing_here(_PACKAGES) if place.python is None else missing_in(place.python, _PACKAGES)
    if missing:
        where = "here" if place.python is None else f"in slurm.python={' '.join(place.python)}"
        raise UserError(
            f"render.renderer=diffusion: {', '.join(missing)} is not installed {where}; install the extra: "
            "pip install 'synthclip-hpc[render]'"
        )


def _check_gpu(render: RenderConfig, place: Place) -> None:
    needed = render.renderers if render.device == "cuda" else 0
    if place.num_gpus >= needed:
        return
    wanted = "1 GPU is needed" if needed == 1 else f"{needed} GPUs are needed (render.renderers={needed}, 1 a renderer)"
    if place.cluster != "local":
        asks = f"asks for {place.num_gpus}" if place.num_gpus else "asks for no GPU"
        raise UserError(
            f"render.device=cuda: {wanted}, and the job {asks}; set slurm.gres=gpu:{needed} or "
            f"slurm.gpus_per_node={needed} (or put it into [stage.render] of the profile), or use render.device=cpu"
        )
    if place.num_gpus == 0:
        raise UserError(
            "render.device=cuda: this machine has no GPU (no /dev/nvidia0, nor AMD's /dev/kfd and /dev/dri), or "
            "CUDA_VISIBLE_DEVICES hides it; use render.device=cpu with a small pipeline, render.renderer=glyphs, or "
            "submit to a cluster"
        )
    raise UserError(
        f"render.renderers={render.renderers}: {needed} GPUs are needed, 1 a renderer, and this machine has "
        f"{place.num_gpus}; use render.renderers={place.num_gpus}"
    )


def _check_scheduler(render: RenderConfig, files: PipelineFiles, place: Place) -> None:
    """Refuse a scheduler that cannot stand in for the pipeline's own; not asked where that one stays."""
    wanted = scheduler_class(settled(render), files)
    if wanted is None or place.container is not None:
        return
    if not files.scheduler:
        raise unfit_scheduler(wanted, files, [])
    told = ask(place.python or [sys.executable], _QUESTION, [files.scheduler, files.pipeline])
    if not isinstance(told, dict):
        return  # that python may exist on the nodes alone; the worker will say
    if not told["pipeline"]:
        raise UserError(
            f"render.diffusion.model={files.name}: the diffusers installed there has no {files.pipeline}; install a "
            "newer one, or take another model"
        )
    if wanted not in (told["fitting"] or []):
        raise unfit_scheduler(wanted, files, told["fitting"] or [])
