"""The renderers by name, what each of them takes from the configuration, and how it is opened."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sharding.canonical import canonical_json
from synthclip_hpc.config.keys import flatten
from synthclip_hpc.config.render import RENDERERS, RESAMPLES, STYLES, SUBSAMPLINGS, RenderConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.rendering.renderer import Renderer

if TYPE_CHECKING:
    from synthclip_hpc.rendering.diffusion.folder import PipelineFiles

NOT_OF_THE_IMAGE = ("render.batch_items", "render.max_tries")
"""What decides which images there are, and in which company they are drawn, but not what one looks like."""
MAX_SIZE = 4096


def check_renderer(render: RenderConfig) -> None:
    """Raise UserError when a value cannot be."""
    module, colon, function = render.renderer.partition(":")
    if render.renderer not in RENDERERS and not (colon and module and function.isidentifier()):
        raise UserError(
            f"render.renderer={render.renderer}: no such renderer{nearest(render.renderer, RENDERERS)}. "
            f"Valid: {', '.join(RENDERERS)}, or module:function of your own"
        )
    for key, known in (("style", STYLES), ("resample", RESAMPLES), ("jpeg_subsampling", SUBSAMPLINGS)):
        value = getattr(render, key)
        if value not in known:
            raise UserError(f"render.{key}={value}: no such {key}{nearest(value, known)}. Valid: {', '.join(known)}")
    for key, most in (("size", MAX_SIZE), ("jpeg_quality", 100), ("batch_items", 4096), ("max_tries", 100)):
        if not 1 <= (number := getattr(render, key)) <= most:
            raise UserError(f"render.{key}={number}: wanted a whole number from 1 to {most}")
    if render.renderer == "glyphs":
        _refuse_what_glyphs_ignore(render)
    for key in ("threads", "renderers"):
        if (number := getattr(render, key)) < 1:
            raise UserError(f"render.{key}={number}: wanted a whole number from 1")
    if not 0 <= render.items_per_s < math.inf:
        raise UserError(f"render.items_per_s={render.items_per_s}: wanted 0 (full speed) or more")
    if not 0 <= render.glyphs.redrawn <= 1:
        raise UserError(f"render.glyphs.redrawn={render.glyphs.redrawn}: wanted a share from 0 to 1")


def _refuse_what_glyphs_ignore(render: RenderConfig) -> None:
    """Raise UserError where a pipeline is named but not chosen: nobody wants a million emoji in its place."""
    for key, value in (("render.preset", render.preset), ("render.diffusion.model", render.diffusion.model)):
        if value is not None:
            raise UserError(
                f"{key}={value}: render.renderer=glyphs uses no diffusion pipeline; add render.renderer=diffusion, or "
                f"leave it out ({key}=None where a preset or the run has it)"
            )


def is_diffusion(render: RenderConfig) -> bool:
    """Tell whether the renderer opens a diffusion pipeline. A renderer of the user's finds its own model."""
    return render.renderer == "diffusion"


def gpus_of(render: RenderConfig) -> int:
    """Return how many GPUs one renderer takes."""
    return 1 if render.device == "cuda" and render.renderer != "glyphs" else 0


def pipeline_of(render: RenderConfig) -> PipelineFiles | None:
    """Return the files of the diffusion pipeline; None for a renderer that opens none. Raises UserError."""
    if not is_diffusion(render):
        return None
    from synthclip_hpc.rendering.diffusion.folder import find_pipeline
    from synthclip_hpc.rendering.diffusion.recipe import settled

    return find_pipeline(settled(render))


def identity_of(render: RenderConfig, case: str, pipeline: PipelineFiles | None) -> dict[str, Any]:
    """Return everything about renderer, model and files that an image can depend on, by name."""
    found: dict[str, Any] = {"render.renderer": render.renderer}
    for key in ("size", "resample", "jpeg_quality", "jpeg_subsampling", "batch_items", "max_tries"):
        found[f"render.{key}"] = getattr(render, key)
    if render.renderer == "glyphs":
        from synthclip_hpc.rendering.glyphs.preflight import identity_of as of_glyphs

        return found | {"render.glyphs": of_glyphs(render.style, render.size, render.glyphs.redrawn, case)}
    if pipeline is not None:
        from synthclip_hpc.rendering.diffusion.identity import identity_of as of_diffusion

        return found | of_diffusion(render, pipeline)
    # A renderer of the user's is given all of them, and what it makes of them nobody here knows.
    given = ((f"render.{key}", value) for key, value, item in flatten(render) if item.metadata["role"] == "identity")
    return found | dict(given)


def recipe_of(identity: Mapping[str, Any]) -> str:
    """Return 16 hex digits for all that makes an image but its caption and its seed: equal recipes, equal images."""
    kept = {name: value for name, value in identity.items() if name not in NOT_OF_THE_IMAGE}
    return hashlib.sha256(canonical_json(kept)).hexdigest()[:16]


def open_renderer(render: RenderConfig, case: str, pipeline: PipelineFiles | None) -> Renderer:
    """Open the configured renderer; `case` is how concepts are found in captions. Raises UserError."""
    if render.renderer == "glyphs":
        from synthclip_hpc.rendering.glyphs.renderer import GlyphsRenderer

        return GlyphsRenderer(render.style, render.size, render.glyphs.redrawn, case)
    if pipeline is not None:
        from synthclip_hpc.rendering.diffusion.renderer import open_diffusion

        return open_diffusion(render, pipeline)
    module, _, function = render.renderer.partition(":")
    try:
        opened: Renderer = getattr(importlib.import_module(module), function)(render)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"render.renderer={render.renderer}: {error}; wanted module:function that takes the render configuration"
        ) from error
    return opened
