"""The diffusion renderer beside a bare loop over the same pipeline: same prompts, seeds, batch, process, on the CPU.

Bare is what a script does: the pipeline called with prompts and generators, its images turned into arrays. Ours does
what it does, and cleans, counts and encodes prompts apart, makes latents, and looks for values that are no numbers.
Both draw the same images, and that is checked. A tiny Stable Diffusion (64 pixels) makes what comes around
the network look as large as it can be. The two take turns, and the ratio is the median over rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from synthclip_hpc.config.render import DiffusionConfig, RenderConfig
from synthclip_hpc.rendering.diffusion.folder import find_pipeline
from synthclip_hpc.rendering.diffusion.recipe import settled
from synthclip_hpc.rendering.diffusion.renderer import DiffusionRenderer, open_diffusion
from synthclip_hpc.rendering.renderer import Request
from tests.benchmarks.measure import Result, environment, run_process
from tests.engines import tiny_stable_diffusion

ROUNDS = 20
BATCH_ITEMS = 16
STEPS = 20
FLOOR = 0.97


def measure(folder: Path) -> list[Result]:
    """Compare on a tiny Stable Diffusion, one thread, in a process of its own."""
    words = [sys.executable, "-m", "tests.benchmarks.diffusion_speed", str(folder)]
    found = json.loads(run_process(words, folder, environment()).output.strip().splitlines()[-1])
    ratio = statistics.median(found["speed_ups"])
    spread = f"(of {len(found['speed_ups'])}: {min(found['speed_ups']):.2f} to {max(found['speed_ups']):.2f})"
    value = f"{ratio:.2f}x {spread}; {found['images_per_s']:.1f} images/s"
    return [Result("diffusion renderer over a bare pipeline loop", value, f">= {FLOOR}x", ratio >= FLOOR)]


def compare(folder: Path) -> dict[str, Any]:
    """Draw one batch a round on both sides; a first round only warms up."""
    model = tiny_stable_diffusion.build(folder / "tiny")
    own = DiffusionConfig(model=str(model), steps=STEPS, native_size=tiny_stable_diffusion.NATIVE_SIZE["tiny"])
    render = RenderConfig(
        renderer="diffusion", preset="sd15", device="cpu", threads=1, batch_items=BATCH_ITEMS, diffusion=own
    )
    renderer = open_diffusion(render, find_pipeline(settled(render)))
    speed_ups, ours_s = [], []
    for number in range(ROUNDS + 1):
        first = number * BATCH_ITEMS
        batch = [Request(f"a photo of a fox, number {item}", item) for item in range(first, first + BATCH_ITEMS)]
        sides: list[Callable[[], list[Any]]] = [partial(renderer.draw, batch), partial(draw_bare, renderer, batch)]
        # Who begins changes, because the machine may slow down or speed up in between.
        order = (0, 1) if number % 2 else (1, 0)
        took: list[float] = [0.0, 0.0]
        made: list[list[Any]] = [[], []]
        for side in order:
            started = time.perf_counter()
            made[side] = sides[side]()
            took[side] = time.perf_counter() - started
        (ours, bare), (pictures, images) = took, made
        if not all(np.array_equal(picture.pixels, image) for picture, image in zip(pictures, images, strict=True)):
            raise RuntimeError(f"the two sides of round {number} do not draw the same")
        if number:
            speed_ups.append(bare / ours)
            ours_s.append(ours)
    return {"speed_ups": speed_ups, "images_per_s": BATCH_ITEMS / statistics.median(ours_s)}


def draw_bare(renderer: DiffusionRenderer, batch: Sequence[Request]) -> list[np.ndarray]:
    """Draw as a script would; returns (height, width, 3) uint8 arrays."""
    import torch

    recipe = renderer.recipe
    drawn = renderer.pipeline(
        prompt=[request.caption for request in batch],
        generator=[torch.Generator().manual_seed(request.seed) for request in batch],
        num_inference_steps=recipe.steps,
        guidance_scale=recipe.guidance,
        height=recipe.native_size,
        width=recipe.native_size,
    )
    return [np.asarray(image) for image in drawn.images]


if __name__ == "__main__":
    print(json.dumps(compare(Path(sys.argv[1]))), flush=True)
