"""What a diffusion pipeline is told: presets, and the configuration with everything filled in."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from synthclip_hpc.config.render import RENDER_PRESETS, DiffusionConfig, RenderConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.models.runtime import DEVICES, DTYPES

OWN_SCHEDULER = "own"
"""The scheduler that is saved with the pipeline."""
_NUMBERS = ("steps", "guidance", "native_size")
_SIZE_UNIT = 8
"""Pixels of a latent of Stable Diffusion; a pipeline whose unit is larger says so itself."""


@dataclass(frozen=True)
class Preset:
    """Numbers of a known pipeline."""

    model: str
    scheduler: str
    steps: int
    guidance: float
    native_size: int


PRESETS = {
    # The paper's, as its released code has it: DDIM, 50 steps, eta 0, 512 x 512; it is run with guidance 2.0.
    # `v1-5-pruned-emaonly` was withdrawn from its old place on the hub; this is the same model's new one.
    "sd15": Preset("stable-diffusion-v1-5/stable-diffusion-v1-5", "DDIMScheduler", 50, 2.0, 512),
    # Diffusers' page on SDXL Turbo: trained without guidance, 1 to 4 steps, 512 x 512; SD Turbo is its sibling.
    "sd-turbo": Preset("stabilityai/sd-turbo", OWN_SCHEDULER, 1, 0.0, 512),
    "sdxl-turbo": Preset("stabilityai/sdxl-turbo", OWN_SCHEDULER, 1, 0.0, 512),
    # Guidance is an input of this network: it costs no second pass. It can draw 768 x 768, which is more than twice the
    # work, for images that are made small again.
    "lcm": Preset("SimianLuo/LCM_Dreamshaper_v7", OWN_SCHEDULER, 4, 8.0, 512),
}
assert tuple(PRESETS) == RENDER_PRESETS


@dataclass(frozen=True)
class Recipe:
    """How images are drawn, nothing left open."""

    model: str
    """As configured: a folder or a hub id."""
    revision: str | None
    scheduler: str
    """Class of diffusers, or `own`."""
    steps: int
    guidance: float
    """Scale of classifier-free guidance; at 1 and below there is no unconditional pass."""
    native_size: int
    """Width and height drawn, in pixels."""
    device: str
    dtype: str
    """`float32`, `bfloat16` or `float16`."""
    threads: int
    """CPU threads."""
    compile: bool
    channels_last: bool
    safety_checker: bool
    batch_items: int
    """Images asked for together: what compiled code has as its one shape."""

    @property
    def guided(self) -> bool:
        """Whether each step has an unconditional pass as well."""
        return self.guidance > 1


def settled(render: RenderConfig) -> Recipe:
    """Fill in what `render.preset` and the device stand for.

    Without preset and model it is `sd15`, the paper's. Raises UserError for a value that cannot be, and for a model
    without preset that lacks one of its numbers: what suits one pipeline spoils the images of another.
    """
    _check_values(render)
    own = render.diffusion
    if render.preset is not None or own.model is None:
        preset = PRESETS[render.preset or "sd15"]
    else:
        if missing := [f"render.diffusion.{name}" for name in _NUMBERS if getattr(own, name) is None]:
            raise UserError(
                f"render.diffusion.model={own.model}: without a preset, {', '.join(missing)} must be given as well; or "
                f"take the numbers of a preset that this model is like: render.preset={'|'.join(PRESETS)}"
            )
        preset = Preset(own.model, OWN_SCHEDULER, 0, 0.0, 0)
    given = {name: getattr(own, name) for name in ("model", "scheduler", *_NUMBERS)}
    numbers = dataclasses.replace(preset, **{name: value for name, value in given.items() if value is not None})
    return Recipe(
        model=numbers.model,
        revision=own.revision,
        scheduler=numbers.scheduler,
        steps=numbers.steps,
        guidance=numbers.guidance,
        native_size=numbers.native_size,
        device=render.device,
        dtype=_dtype(render),
        threads=render.threads,
        compile=own.compile,
        channels_last=own.channels_last,
        safety_checker=own.safety_checker,
        batch_items=render.batch_items,
    )


def _dtype(render: RenderConfig) -> str:
    if render.dtype != "auto":
        return render.dtype
    return "bfloat16" if render.device == "cuda" else "float32"


def _check_values(render: RenderConfig) -> None:
    """Raise UserError when a value cannot be."""
    own: DiffusionConfig = render.diffusion
    for key, value, known in (
        ("render.preset", render.preset, RENDER_PRESETS),
        ("render.device", render.device, DEVICES),
        ("render.dtype", render.dtype, DTYPES),
    ):
        if value is not None and value not in known:
            name = key.rpartition(".")[2]
            raise UserError(f"{key}={value}: no such {name}{nearest(value, known)}. Valid: {', '.join(known)}")
    at_least: list[tuple[str, Any, int]] = [
        ("render.threads", render.threads, 1),
        ("render.batch_items", render.batch_items, 1),
        ("render.diffusion.steps", own.steps, 1),
        ("render.diffusion.device_batch_items", own.device_batch_items, 0),
    ]
    for key, number, least in at_least:
        if number is not None and number < least:
            raise UserError(f"{key}={number}: wanted a whole number from {least}")
    if own.guidance is not None and not 0 <= own.guidance < math.inf:
        raise UserError(f"render.diffusion.guidance={own.guidance}: wanted 0 (no guidance) or more")
    if own.native_size is not None and (own.native_size < _SIZE_UNIT or own.native_size % _SIZE_UNIT):
        raise UserError(
            f"render.diffusion.native_size={own.native_size}: wanted a multiple of {_SIZE_UNIT} pixels, such as 512; "
            "render.size is the size of the finished images"
        )
    if own.scheduler is not None and own.scheduler != OWN_SCHEDULER and not own.scheduler.isidentifier():
        raise UserError(
            f"render.diffusion.scheduler={own.scheduler}: wanted the name of a scheduler of diffusers, such as "
            f"DDIMScheduler, or {OWN_SCHEDULER}"
        )
