"""What an image of a diffusion pipeline depends on besides its caption and seed, and what its record tells of it."""

from __future__ import annotations

from typing import Any

from sharding.marker import Promise
from synthclip_hpc.config.render import RenderConfig
from synthclip_hpc.rendering.diffusion.folder import PipelineFiles
from synthclip_hpc.rendering.diffusion.recipe import OWN_SCHEDULER, Recipe, settled


def identity_of(render: RenderConfig, files: PipelineFiles) -> dict[str, Any]:
    """Return everything about the pipeline and how it is run that an image can depend on, by name.

    Versions of packages are none of it. `render.batch_items` belongs to it as well, where images depend on their batch.
    """
    recipe = settled(render)
    drawn = {
        "pipeline": files.pipeline,
        "scheduler": _scheduler(recipe, files),
        "steps": recipe.steps,
        "guidance": recipe.guidance,
        "native_size": recipe.native_size,
        "dtype": recipe.dtype,
        "device": recipe.device,
        "channels_last": recipe.channels_last,
        "compile": recipe.compile,
        "safety_checker": recipe.safety_checker,
    }
    if recipe.device == "cpu":
        drawn["threads"] = recipe.threads
    return {
        "render.model.name": files.name,
        "render.model.revision": files.revision or "",
        "render.model.fingerprint": files.fingerprint,
        # Under a name of its own: under the keys themselves a plan has what was asked for.
        "render.settled": drawn,
    }


def facts_of(recipe: Recipe, files: PipelineFiles) -> dict[str, Any]:
    """Return what the record of each sample tells of how it was drawn."""
    return {
        "renderer": "diffusion",
        "model": files.name,
        "revision": files.revision or "",
        "scheduler": _scheduler(recipe, files),
        "steps": recipe.steps,
        "guidance": recipe.guidance,
        "native_size": recipe.native_size,
        "dtype": recipe.dtype,
    }


def promise_of(render: RenderConfig) -> Promise:
    """Return `bytes` where an image drawn again is the same, else `items`.

    On the CPU it is, with the same software, number of threads and CPU type, when nothing is compiled.
    """
    return "bytes" if render.device == "cpu" and not render.diffusion.compile else "items"


def _scheduler(recipe: Recipe, files: PipelineFiles) -> str:
    return files.scheduler if recipe.scheduler == OWN_SCHEDULER else recipe.scheduler
