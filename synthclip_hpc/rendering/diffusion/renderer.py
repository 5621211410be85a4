"""The `diffusion` renderer: any text-to-image pipeline of diffusers, images drawn one by one from their own seeds.

An image may depend on the others of its batch, by rounding: on a CPU in float32 one step of 255 in a value here and
there (seen with a small Stable Diffusion, for batches of one). So the batch that the plan fixes is handed over as it
is, and only cut when a GPU's memory cannot hold it; on a CPU, whose images are promised bit for bit, it is never cut.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthclip_hpc.config.render import RenderConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.device_batch import DeviceBatch
from synthclip_hpc.models.local_copy import copied
from synthclip_hpc.rendering.diffusion.folder import PipelineFiles
from synthclip_hpc.rendering.diffusion.identity import facts_of
from synthclip_hpc.rendering.diffusion.opening import open_pipeline, too_small
from synthclip_hpc.rendering.diffusion.prompts import Prompter, clean_prompt
from synthclip_hpc.rendering.diffusion.recipe import Recipe, settled
from synthclip_hpc.rendering.renderer import Picture, Request

NON_FINITE = "non_finite"
UNSAFE = "unsafe"


def open_diffusion(render: RenderConfig, files: PipelineFiles) -> DiffusionRenderer:
    """Load the configured pipeline; `files` are what `find_pipeline` found and the plan has the fingerprint of.

    Raises UserError when a package, the GPU or the scheduler is missing or does not fit, or when the device's memory is
    too small.
    """
    recipe = settled(render)
    path = files.path
    if render.diffusion.local_copy is not None:
        path = copied(files, render.diffusion.local_copy)
    pipeline = open_pipeline(recipe, files, path, asked_dtype=render.dtype)
    on_device = render.diffusion.device_batch_items if recipe.device == "cuda" else 0
    return DiffusionRenderer(pipeline, recipe, files, device_batch_items=on_device)


class DiffusionRenderer:
    """Draws with `pipeline`, which is on its device already. Used by one thread at a time."""

    def __init__(self, pipeline: Any, recipe: Recipe, files: PipelineFiles, *, device_batch_items: int = 0) -> None:
        self.pipeline = pipeline
        self.recipe = recipe
        self.facts: Mapping[str, Any] = facts_of(recipe, files)
        self.device_batch = DeviceBatch(
            device_batch_items, stage="render", what="images", key="render.diffusion.device_batch_items"
        )
        self._prompter = Prompter(pipeline, guided=recipe.guided)
        self._options = _call_options(pipeline, recipe)

    def draw(self, batch: Sequence[Request]) -> list[Picture]:
        """Return one picture a request, `native_size` square; a fact of each is `cut_tokens` (int).

        Noise comes from a generator of its own for each image, on the CPU: the same on every device. (For pipelines of
        a kind that is known it is drawn in float32 whatever the dtype; the others draw it themselves.) A value is made
        a byte by rounding, as diffusers does it (the paper's released code cut the fraction off). Rejected are images
        with values that are no numbers (`non_finite`) and those that the pipeline's safety checker flags (`unsafe`).

        When the device's memory is too small, fewer images are drawn at once from then on. Raises UserError when it
        does not even hold one.
        """
        return self.device_batch.run(batch, self._draw_together, self._too_small) if batch else []

    def close(self) -> None:
        """Give the device's memory back."""
        import torch

        self.pipeline = None
        del self._prompter
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _draw_together(self, batch: Sequence[Request]) -> list[Picture]:
        import torch

        prompts = [clean_prompt(request.caption) for request in batch]
        cut_tokens = self._prompter.cut_tokens(prompts)
        # Compiled code has one shape: what is missing to a whole batch is filled up with copies that nobody looks at.
        padding = self._full(len(batch)) - len(batch)
        prompts += prompts[-1:] * padding
        generators = [_generator(request.seed) for request in [*batch, *[batch[-1]] * padding]]
        with torch.inference_mode():
            output = self.pipeline(
                **self._prompter.arguments(prompts),
                **self._noise(generators),
                **self._options,
            )
            finite, pixels = _to_bytes(output.images[: len(batch)])
        flagged = getattr(output, "nsfw_content_detected", None) or [False] * len(batch)
        return [
            _picture(image, is_finite, is_flagged, {"cut_tokens": cut})
            for image, is_finite, is_flagged, cut in zip(pixels, finite, flagged[: len(batch)], cut_tokens, strict=True)
        ]

    def _full(self, num_images: int) -> int:
        """Return how many images are drawn for so many: a whole batch when code is compiled for that shape."""
        if not self.recipe.compile:
            return num_images
        most = self.recipe.batch_items
        return max(num_images, min(most, self.device_batch.items or most))

    def _noise(self, generators: list[Any]) -> dict[str, Any]:
        """Return the generators, and the latents to begin with where their shape is known to be the plain one.

        Schedulers that add noise at each step draw it from the same generators, row by row.
        """
        if not self._prompter.encodes:
            return {"generator": generators}
        import torch

        unit = self.pipeline.vae_scale_factor
        size = self.recipe.native_size // unit
        shape = (1, self.pipeline.unet.config.in_channels, size, size)
        rows = [torch.randn(shape, generator=one, dtype=torch.float32) for one in generators]
        latents = torch.cat(rows).to(self.pipeline.device, self.pipeline.unet.dtype)
        return {"generator": generators, "latents": latents}

    def _too_small(self, error: Exception) -> UserError:
        return too_small(self.recipe, f"one image of {self.recipe.native_size} pixels a side does not fit", error)


def _call_options(pipeline: Any, recipe: Recipe) -> dict[str, Any]:
    """Return what the pipeline's call is told besides prompt and noise, as far as it takes it."""
    options = {
        "height": recipe.native_size,
        "width": recipe.native_size,
        "num_inference_steps": recipe.steps,
        "guidance_scale": recipe.guidance,
        "eta": 0.0,
        "output_type": "pt",
    }
    takes = inspect.signature(pipeline.__call__).parameters
    return {name: value for name, value in options.items() if name in takes}


def _generator(seed: int) -> Any:
    import torch

    return torch.Generator("cpu").manual_seed(seed)


def _to_bytes(images: Any) -> tuple[list[bool], np.ndarray]:
    """Return which images are finite, and all as (number, height, width, 3) bytes, from (number, 3, height, width).

    Values are in 0 to 1, or no numbers (those become 0): the pipeline has limited them. Only bytes leave the device.
    """
    import torch

    finite = torch.isfinite(images).flatten(1).all(dim=1)
    levels = images.float().nan_to_num(nan=0.0).mul(255).round().clamp(0, 255).to(torch.uint8)
    pixels: np.ndarray = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return finite.tolist(), pixels


def _picture(pixels: np.ndarray, finite: bool, flagged: bool, facts: Mapping[str, Any]) -> Picture:
    if not finite:
        return Picture(reject_reason=NON_FINITE, facts=facts)
    if flagged:
        return Picture(reject_reason=UNSAFE, facts=facts)
    return Picture(pixels, facts=facts)
