"""`python -m tests.benchmarks.gpu_train FOLDER`: samples a second of CLIP training on a GPU, ViT-B/16 at 224 px.

For a machine that has a GPU and perhaps nothing but torch, open_clip and this project's own needs: images and captions
are made here from seeds, so nothing is fetched. One JSON line for each batch size, with pixels and tokens that lie on
the device (`synthetic`: what the step alone can do), and from tars by so many loader processes: samples a second, the
part of the card's arithmetic that the model used (mfu), seconds a step waited for its data, memory. Medians over
`--steps` steps, after some that warm up. `--shape tiny --device cpu` tries the script itself.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sharding import ustar
from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.dataset.columns import INDEX, SHARDS, index_schema, tar_name
from synthclip_hpc.dataset.foreign_tar import read_foreign
from synthclip_hpc.dataset.index_file import RowWriter
from synthclip_hpc.errors import UserError

WARM_UP_STEPS = 5
TAR_SAMPLES = 1024
_PICTURES = 512
_WORDS = ("a", "photo", "of", "two", "red", "foxes", "on", "an", "old", "wooden", "table", "beside", "the", "river")


class Shape(NamedTuple):
    """A model, and the images that it is fed with."""

    model: str
    pixels: int
    """Width and height of the JPEGs."""


SHAPES = {"vit-b-16": Shape("synthclip-vit-b-16", 256), "tiny": Shape("resnet-tiny", 96)}


class OneRank:
    """All ranks there are."""

    rank, count = 0, 1

    def __init__(self, device: Any) -> None:
        self.device = device


def make_data_set(folder: Path, samples: int, pixels: int) -> None:
    """Write tars of smooth noise as JPEGs with made-up captions, and their index, as the stage merge leaves them."""
    import pyarrow as pa
    from PIL import Image

    dice = np.random.default_rng(0)
    pictures = []
    for _ in range(_PICTURES):
        dots = dice.integers(0, 256, (pixels // 16 + 1, pixels // 16 + 1, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(dots).resize((pixels, pixels), Image.Resampling.BICUBIC).save(out, "JPEG", quality=95)
        pictures.append(out.getvalue())
    (folder / SHARDS).mkdir(parents=True)
    names = index_schema().names
    with RowWriter(folder / INDEX, index_schema()) as index:
        for tar, first in enumerate(range(0, samples, TAR_SAMPLES)):
            members: list[tuple[str, bytes]] = []
            for number in range(first, min(first + TAR_SAMPLES, samples)):
                caption = " ".join(dice.choice(_WORDS, 12).tolist())
                members.append((f"{number:09d}.jpg", pictures[number % _PICTURES]))
                members.append((f"{number:09d}.txt", caption.encode()))
            path = folder / SHARDS / tar_name(tar)
            path.write_bytes(ustar.members(members) + ustar.END)
            found = read_foreign(path.read_bytes(), path, "noise", tar)
            index.add(pa.Table.from_pydict({name: found.columns[name] for name in names}, schema=index_schema()))


@contextmanager
def from_tars(folder: Path, train: TrainConfig, model: Any, steps: int) -> Iterator[Iterator[Any]]:
    """Yield the batches that the stage's own loader makes."""
    from open_clip.tokenizer import SimpleTokenizer

    from synthclip_hpc.training.data.loader import open_loader
    from synthclip_hpc.training.data.training_data import open_training_data
    from synthclip_hpc.training.order import SampleOrder

    with closing(open_training_data([folder])) as data:
        order = SampleOrder(
            0,
            data.shards(),
            batch_size=train.batch_size,
            chunk_samples=train.chunk_samples,
            group_chunks=train.group_chunks,
            lanes=train.lanes,
        )
        with open_loader(
            data,
            order,
            first_step=0,
            last_step=steps,
            rank=0,
            world_size=1,
            image_size=model.image_size,
            tokenizer=SimpleTokenizer(context_length=model.context_length),
            crop_min=train.crop_min,
            color_jitter=train.color_jitter,
            interpolation=train.interpolation,
            seed=0,
            workers=train.loader_workers,
            prefetch_batches=train.prefetch_batches,
            pin_memory=train.device == "cuda",
        ) as loader:
            yield ((batch.images, batch.tokens) for batch in loader)


@contextmanager
def synthetic(train: TrainConfig, model: Any, steps: int) -> Iterator[Iterator[Any]]:
    """Yield one batch of noise on the device, again and again."""
    import torch

    size = (train.batch_size, 3, model.image_size, model.image_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8, device=train.device)
    tokens = torch.randint(1, 49000, (train.batch_size, model.context_length), device=train.device)
    yield ((images, tokens) for _ in range(steps))


def measure(data: Path | None, train: TrainConfig, steps: int) -> dict[str, Any]:
    """Time `steps` steps after some that warm up; without `data` of synthetic tensors."""
    import torch

    from synthclip_hpc.training.flops import forward_flops, peak_flops
    from synthclip_hpc.training.model import build_model, find_model_config
    from synthclip_hpc.training.schedule import Schedule
    from synthclip_hpc.training.settings import precision_of
    from synthclip_hpc.training.step import Step

    on_gpu = train.device == "cuda"
    device = torch.device(train.device, 0 if on_gpu else None)
    model = find_model_config(train.model)
    all_steps = WARM_UP_STEPS + steps
    bare = build_model(model, seed=0, device=device, checkpoint_activations=train.checkpoint_activations)
    called = torch.compile(bare) if train.compile else bare
    take_step = Step(train, 0, called, bare, Schedule(train, all_steps), OneRank(device))  # type: ignore[arg-type]
    seconds, waits = [], []
    batches = synthetic(train, model, all_steps) if data is None else from_tars(data, train, model, all_steps)
    with batches as coming:
        began = time.perf_counter()
        for step in range(all_steps):
            images, tokens = next(coming)
            waits.append(time.perf_counter() - began)
            scalars = take_step(step, images, tokens)
            # As the loop does between two looks: the device works on while the next batch is fetched.
            if (step + 1) % train.log_steps == 0 or step + 1 == WARM_UP_STEPS:
                scalars.loss.item()
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
        loss = scalars.loss.item()
        tail_s = time.perf_counter() - began
    timed_s = sum(seconds[WARM_UP_STEPS:]) + tail_s
    rate = train.batch_size * steps / timed_s
    found: dict[str, Any] = {
        "batch_size": train.batch_size,
        "data": "synthetic" if data is None else f"tars, {train.loader_workers} loader processes",
        "precision": precision_of(train),
        "compile": train.compile,
        "samples_per_s": round(rate, 1),
        "step_s": round(timed_s / steps, 4),
        "data_wait_s": round(statistics.fmean(waits[WARM_UP_STEPS:]), 4),
        "warm_up_s": round(sum(seconds[:WARM_UP_STEPS]), 1),
        "loss": round(loss, 4),
    }
    if on_gpu:
        peak = peak_flops(torch.cuda.get_device_name(device), precision_of(train))
        passes = 4 if train.checkpoint_activations else 3
        flops = passes * forward_flops(bare, image_size=model.image_size, context_length=model.context_length)
        found["mfu"] = round(rate * flops / peak, 4) if peak else None
        found["memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    return found


def _measured(data: Path | None, train: TrainConfig, steps: int) -> dict[str, Any]:
    """As `measure`, or what did not fit."""
    import torch

    try:
        return measure(data, train, steps)
    except torch.cuda.OutOfMemoryError as error:
        return {"batch_size": train.batch_size, "compile": train.compile, "left_out": str(error)[:200]}
    finally:
        if train.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def main() -> int:
    """Print one JSON line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the tars are written (1 GB); taken as they are when there")
    parser.add_argument("--shape", choices=SHAPES, default="vit-b-16")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batches", default="512,1024", help="batch sizes, comma-separated")
    parser.add_argument("--loaders", default="8,11,14", help="numbers of loader processes, comma-separated")
    parser.add_argument("--compile", choices=("off", "on", "both"), default="off")
    parser.add_argument("--samples", type=int, default=32_768, help="size of the data set")
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    shape = SHAPES[given.shape]
    batches = [int(one) for one in given.batches.split(",")]
    if given.samples < max(batches):
        raise UserError(f"--samples={given.samples}: not one whole batch of {max(batches)}; make it larger")
    if not (given.folder / INDEX).exists():
        make_data_set(given.folder, given.samples, shape.pixels)
    import torch

    torch.set_num_threads(1)
    print(json.dumps({"device": torch.cuda.get_device_name() if given.device == "cuda" else "CPU"}), flush=True)
    for compiled in {"off": [False], "on": [True], "both": [False, True]}[given.compile]:
        for batch_size in batches:
            # 0 stands for tensors on the device.
            for loaders in (0, *map(int, given.loaders.split(","))):
                train = TrainConfig(
                    model=shape.model,
                    device=given.device,
                    batch_size=batch_size,
                    loader_workers=loaders,
                    compile=compiled,
                    epochs=2,
                )
                found = _measured(given.folder if loaders else None, train, given.steps)
                print(json.dumps({"shape": given.shape, **found}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
