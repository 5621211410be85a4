"""`python -m tests.benchmarks.gpu_render FOLDER`: images a second of Stable Diffusion v1.5's shape on a GPU.

For a machine that has a GPU and perhaps nothing but torch, diffusers and transformers: the pipeline has v1.5's shape
and random weights, so nothing is fetched. One JSON line for each number of steps, with and without compiling, and batch
size: images a second of the renderer, of a bare loop over the same pipeline in turn with it, and what part of the
card's own rate of multiplying large matrices the counted floating-point operations make. `--shape tiny --device cpu`
tries the script itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from synthclip_hpc.config.render import DiffusionConfig, RenderConfig
from synthclip_hpc.rendering.diffusion.folder import find_pipeline
from synthclip_hpc.rendering.diffusion.recipe import settled
from synthclip_hpc.rendering.diffusion.renderer import DiffusionRenderer, open_diffusion
from synthclip_hpc.rendering.renderer import Request
from tests.benchmarks.diffusion_speed import draw_bare
from tests.engines import tiny_stable_diffusion

GUIDED_STEPS = 50
"""With guidance 2, as the paper has it; fewer steps go without, as few-step models do."""
MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}
DTYPE = {"cuda": "bfloat16", "cpu": "float32"}


def matrix_rate(device: str) -> float:
    """Return floating-point operations a second of multiplying large square matrices, the best of several."""
    import torch

    side = MATRIX_SIDE[device]
    left, right = (torch.randn(side, side, device=device, dtype=getattr(torch, DTYPE[device])) for _ in range(2))
    return 2 * side**3 / min(seconds(lambda: left @ right, device) for _ in range(20))


def seconds(work: Callable[[], Any], device: str) -> float:
    """Time `work` until the device has done it."""
    import torch

    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronize()
    started = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - started


def count_operations(renderer: DiffusionRenderer) -> int:
    """Return floating-point operations of drawing one image; of a renderer that is not compiled."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        renderer.draw([Request("a fox", 0)])
    return int(counter.get_total_flops())


def configured(model: Path, given: argparse.Namespace, steps: int, batch_items: int, compiled: bool) -> RenderConfig:
    """Return the configuration of one measurement."""
    own = DiffusionConfig(
        model=str(model),
        steps=steps,
        guidance=2.0 if steps >= GUIDED_STEPS else 0.0,
        native_size=tiny_stable_diffusion.NATIVE_SIZE[given.shape],
        compile=compiled,
    )
    return RenderConfig(
        renderer="diffusion",
        preset="sd15",
        device=given.device,
        dtype=DTYPE[given.device],
        batch_items=batch_items,
        diffusion=own,
    )


def measure(model: Path, given: argparse.Namespace, steps: int, batch_items: int, compiled: bool) -> dict[str, Any]:
    """Time `rounds` batches of the renderer and of the bare loop, after one that warms up."""
    import torch

    render = configured(model, given, steps, batch_items, compiled)
    renderer = open_diffusion(render, find_pipeline(settled(render)))
    found: dict[str, Any] = {"steps": steps, "guidance": renderer.recipe.guidance, "batch_items": batch_items}
    found["compile"] = compiled
    if not compiled:
        found["operations_per_image"] = count_operations(renderer)
    ours, bare = [], []
    for number in range(given.rounds + 1):
        first = number * batch_items
        batch = [Request(f"a photo of a fox, number {item}", item) for item in range(first, first + batch_items)]
        ours.append(seconds(partial(renderer.draw, batch), given.device))
        bare.append(seconds(partial(draw_bare, renderer, batch), given.device))
    found["warm_up_s"] = round(ours[0], 2)
    found["images_per_s"] = round(batch_items / statistics.median(ours[1:]), 3)
    found["bare_images_per_s"] = round(batch_items / statistics.median(bare[1:]), 3)
    found["over_bare"] = round(statistics.median(b / a for a, b in zip(ours[1:], bare[1:], strict=True)), 3)
    if given.device == "cuda":
        found["memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        torch.cuda.reset_peak_memory_stats()
    renderer.close()
    return found


def main() -> int:
    """Print the card's matrix rate, then one JSON line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the model is written (2 GB); taken as it is when it is there")
    parser.add_argument("--shape", choices=tiny_stable_diffusion.SHAPES, default="sd15")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", default="50,4,1", help="comma-separated; from 50 on with guidance 2")
    parser.add_argument("--batches", default="1,4,16,64", help="batch sizes, comma-separated")
    parser.add_argument("--compile", choices=("off", "on", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    import torch

    model = given.folder
    if not (model / "model_index.json").exists():
        tiny_stable_diffusion.build(model, given.shape, DTYPE[given.device], given.device)
    rate = matrix_rate(given.device)
    card = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    print(json.dumps({"device": card, "dtype": DTYPE[given.device], "matrix_rate": f"{rate:.4g}"}), flush=True)
    operations: dict[int, int] = {}
    for compiled in {"off": [False], "on": [True], "both": [False, True]}[given.compile]:
        for steps in map(int, given.steps.split(",")):
            for batch_items in map(int, given.batches.split(",")):
                found = measure(model, given, steps, batch_items, compiled)
                with contextlib.suppress(KeyError):
                    operations[steps] = found["operations_per_image"]
                if steps in operations:
                    found["of_matrix_rate"] = round(operations[steps] * found["images_per_s"] / rate, 3)
                print(json.dumps({"shape": given.shape, **found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
