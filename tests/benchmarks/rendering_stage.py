"""The stage `render` beside a bare loop: same pipeline, captions, batch, one thread, a process of its own each.

Bare is what a script does: the pipeline called batch by batch, each image saved as a JPEG file. The stage does what it
does, and keeps a tar that can be gone on from, records, checksums and a journal. Both make the same JPEGs, byte for
byte, and that is checked. Timed is, on both sides, from when model and libraries are loaded and the first captions are
read until the last image is written (the stage's is published as well). The two take turns; the ratio is the median
over rounds, because a process is some percent faster or slower than the next one of its kind.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from sharding.tar_scan import scan
from synthclip_hpc.rendering.drawing import image_seed
from synthclip_hpc.rendering.samples import KEY_DIGITS
from tests.benchmarks.measure import Result, environment, run_process
from tests.engines import tiny_stable_diffusion

ROUNDS = 9
IMAGES, BATCH_ITEMS, STEPS = 320, 16, 20
SIZE = tiny_stable_diffusion.NATIVE_SIZE["tiny"]
RUN_SEED = 0
FLOOR = 0.97


def measure(folder: Path) -> list[Result]:
    """Compare on a tiny Stable Diffusion."""
    model = tiny_stable_diffusion.build(folder / "tiny")
    prepared = folder / "prepared"
    words = [
        "preset=laptop", "captions.per_concept=6", f"balance.target={IMAGES}", f"balance.shard_items={IMAGES // 2}",
        "workers=1", "cluster=local",
        "render.renderer=diffusion", "render.preset=sd15", f"render.diffusion.model={model}", "render.device=cpu",
        f"render.diffusion.steps={STEPS}", f"render.diffusion.native_size={SIZE}", f"render.size={SIZE}",
        f"render.batch_items={BATCH_ITEMS}", "render.threads=1", f"seed={RUN_SEED}", "wait=true",
    ]  # fmt: skip
    submit = [sys.executable, "-m", "synthclip_hpc.submit"]
    run_process([*submit, "stage=captions,balance", *words, f"run={prepared}"], folder, environment())
    speed_ups, stage_s = [], []
    for number in range(ROUNDS):
        run = folder / f"run{number}"
        shutil.copytree(prepared, run)
        took: dict[str, float] = {}
        # Who begins changes, because the machine may slow down or speed up in between.
        for side in ("stage", "bare") if number % 2 else ("bare", "stage"):
            if side == "stage":
                run_process([*submit, "stage=render", "workers=1", "cluster=local", "wait=true", f"run={run}"], folder,
                            environment())  # fmt: skip
                took[side] = _stage_s(run)
            else:
                bare = [sys.executable, "-m", "tests.benchmarks.rendering_stage", str(model), str(run)]
                took[side] = float(run_process(bare, folder, environment()).output.strip().splitlines()[-1])
        _check_same_images(run)
        speed_ups.append(took["bare"] / took["stage"])
        stage_s.append(took["stage"])
        shutil.rmtree(run)
    ratio = statistics.median(speed_ups)
    spread = f"(of {ROUNDS}: {min(speed_ups):.2f} to {max(speed_ups):.2f})"
    value = f"{ratio:.2f}x {spread}; {IMAGES / statistics.median(stage_s):.1f} images/s"
    return [Result("stage render over a bare pipeline loop that saves JPEGs", value, f">= {FLOOR}x", ratio >= FLOOR)]


def _stage_s(run: Path) -> float:
    """Return the seconds from when the first shard's captions were read to when the last shard was done.

    As the journal has them. What comes before, after the renderer is open, is the import of pyarrow: half a second once
    an attempt, and before the clock starts on the other side as well.
    """
    (journal,) = (run / "render/draw/journals").glob("local*_0_0.jsonl")
    events: list[dict[str, Any]] = [json.loads(line) for line in journal.read_text().splitlines()]
    started = next(event["time"] for event in events if event["event"] == "shard_start")
    done = [event for event in events if event["event"] == "shard_done"]
    if sum(event["done"] for event in done) != IMAGES:
        raise RuntimeError(f"{run}: not all images were drawn")
    return float(done[-1]["time"] - started)


def _check_same_images(run: Path) -> None:
    """Raise RuntimeError when the two sides have not drawn the same."""
    stage: dict[str, bytes] = {}
    for path in (run / "render/draw/data").rglob("*.tar"):
        data = path.read_bytes()
        stage |= {
            one.name: data[one.offset : one.offset + one.size] for one in scan(data, path) if one.name.endswith(".jpg")
        }
    bare = {path.name: path.read_bytes() for path in (run / "bare").iterdir()}
    if len(bare) != IMAGES or stage != bare:
        raise RuntimeError(f"{run}: stage and bare loop do not draw the same")


def draw_bare(model: Path, run: Path) -> float:
    """Draw the run's captions as a script would; return the seconds without loading the model."""
    import pyarrow.parquet as pq
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    torch.set_num_threads(1)
    paths = sorted((run / "balance/cut/data").rglob("*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    pipeline = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    folder = run / "bare"
    folder.mkdir()
    started = time.perf_counter()
    for first in range(0, len(rows), BATCH_ITEMS):
        batch = rows[first : first + BATCH_ITEMS]
        images = pipeline(
            [row["caption"] for row in batch],
            generator=[torch.Generator().manual_seed(image_seed(RUN_SEED, row["caption_id"], 0)) for row in batch],
            num_inference_steps=STEPS,
            guidance_scale=2.0,
            height=SIZE,
            width=SIZE,
        ).images
        for row, image in zip(batch, images, strict=True):
            image.save(folder / f"{row['position']:0{KEY_DIGITS}d}.jpg", quality=95)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(draw_bare(Path(sys.argv[1]), Path(sys.argv[2])), flush=True)
