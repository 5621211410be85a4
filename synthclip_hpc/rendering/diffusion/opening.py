"""From a pipeline's folder to a pipeline on the device, as the recipe wants it."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.models.runtime import check_device, prepare
from synthclip_hpc.rendering.diffusion.folder import PipelineFiles, scheduler_class
from synthclip_hpc.rendering.diffusion.recipe import Recipe

_COMPUTING_PARTS = ("unet", "transformer", "vae")
"""The denoiser and the decoder, by the names that pipelines give them."""


def open_pipeline(recipe: Recipe, files: PipelineFiles, path: Path, asked_dtype: str) -> Any:
    """Load the pipeline that lies in `path` onto the recipe's device; nothing is fetched.

    Safetensors are mapped into memory, so that processes of one node read a file once. Raises UserError when a package,
    the GPU or the scheduler is missing or does not fit, or when the device's memory is too small for the weights.
    """
    prepare(recipe.threads)
    torch, diffusers = _libraries(recipe)
    check_device("render", recipe.device, recipe.dtype, asked_dtype)
    torch.set_num_threads(recipe.threads)
    # Shapes repeat, and a GPU's images are not promised bit for bit: the fastest kernel may be looked for.
    torch.backends.cudnn.benchmark = recipe.device == "cuda"
    _quiet(diffusers)
    with _told(recipe, files, torch), warnings.catch_warnings():
        # Of how an argument is going to be called; see _dtype_option.
        warnings.simplefilter("ignore", FutureWarning)
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            str(path),
            **_dtype_option(recipe, torch, diffusers),
            variant=files.variant,
            local_files_only=True,
            **dict.fromkeys(files.left_out),
            **({"requires_safety_checker": False} if "safety_checker" in files.left_out else {}),
        )
        _put_scheduler(pipeline, recipe, files, diffusers)
        pipeline.to(recipe.device)
    _check_call(pipeline, recipe, files)
    # It marks images when a package happens to be installed; the images must not depend on that.
    if getattr(pipeline, "watermark", None) is not None:
        pipeline.watermark = None
    _speed_up(pipeline, recipe, torch)
    return pipeline


def _libraries(recipe: Recipe) -> tuple[Any, Any]:
    try:
        import diffusers
        import torch
        import transformers  # noqa: F401  (diffusers has stand-ins that only fail when they are used)
    except ModuleNotFoundError as error:
        raise UserError(
            f"render.renderer=diffusion: the package {error.name} is not installed here; install the extra: "
            "pip install 'synthclip-hpc[render]'"
        ) from error
    return torch, diffusers


def _quiet(diffusers: Any) -> None:
    """Keep hints and progress bars out of the worker's log; errors stay. What is cut off prompts is counted."""
    from transformers.utils import logging

    for library in (diffusers.utils.logging, logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def _dtype_option(recipe: Recipe, torch: Any, diffusers: Any) -> dict[str, Any]:
    """Return the dtype under the name that every 0.x version knows, or under the one that is to follow."""
    name = "torch_dtype" if diffusers.__version__.startswith("0.") else "dtype"
    return {name: getattr(torch, recipe.dtype)}


@contextlib.contextmanager
def _told(recipe: Recipe, files: PipelineFiles, torch: Any) -> Iterator[None]:
    """Raise UserError in place of a library's error about a model that it does not know, or that does not fit."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise too_small(recipe, f"{files.name} in {recipe.dtype} does not fit", error) from error
    except AttributeError as error:
        if files.pipeline not in str(error):
            raise
        raise UserError(
            f"render.diffusion.model={files.name}: the diffusers installed here has no {files.pipeline}; install a "
            "newer one, or take another model"
        ) from error


def too_small(recipe: Recipe, what: str, error: Exception) -> UserError:
    """Return what to tell when the device's memory is too small."""
    return UserError(
        f"render.device={recipe.device}: {what} into the device's memory ({str(error).splitlines()[0]}). "
        f"Take a GPU with more memory; or in a new run render.dtype=bfloat16 (now {recipe.dtype}), a smaller "
        f"render.diffusion.native_size (now {recipe.native_size}) or a smaller render.diffusion.model"
    )


def _put_scheduler(pipeline: Any, recipe: Recipe, files: PipelineFiles, diffusers: Any) -> None:
    name = scheduler_class(recipe, files)
    if name is None:
        return
    fitting = [one.__name__ for one in pipeline.scheduler.compatibles] if hasattr(pipeline, "scheduler") else []
    if name not in fitting:
        raise unfit_scheduler(recipe.scheduler, files, fitting)
    pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config)


def unfit_scheduler(scheduler: str, files: PipelineFiles, fitting: list[str]) -> UserError:
    """Return what to tell of a scheduler that cannot stand in for the pipeline's own."""
    others = f"own, {', '.join(sorted(fitting))}" if fitting else "own"
    return UserError(
        f"render.diffusion.scheduler={scheduler}: does not fit {files.name}, whose own is {files.scheduler or 'none'}"
        f"{nearest(scheduler, fitting)}. Valid: {others}"
    )


def _check_call(pipeline: Any, recipe: Recipe, files: PipelineFiles) -> None:
    """Refuse what does not draw from a text alone, and a size that the latents do not divide."""
    takes = inspect.signature(pipeline.__call__).parameters
    if "prompt" not in takes or "image" in takes:
        raise UserError(
            f"render.diffusion.model={files.name}: {files.pipeline} does not draw from a text alone; take a "
            "text-to-image pipeline"
        )
    unit = getattr(pipeline, "vae_scale_factor", 1)
    if recipe.native_size % unit:
        raise UserError(
            f"render.diffusion.native_size={recipe.native_size}: {files.name} draws multiples of {unit} pixels"
        )


def _speed_up(pipeline: Any, recipe: Recipe, torch: Any) -> None:
    pipeline.set_progress_bar_config(disable=True)
    for name in _COMPUTING_PARTS:
        if (part := getattr(pipeline, name, None)) is None:
            continue
        part.eval()
        if recipe.channels_last:
            part.to(memory_format=torch.channels_last)
        if recipe.compile and name != "vae":
            part.compile(dynamic=False)
    if recipe.compile and hasattr(getattr(pipeline, "vae", None), "decode"):
        pipeline.vae.decode = torch.compile(pipeline.vae.decode, dynamic=False)
