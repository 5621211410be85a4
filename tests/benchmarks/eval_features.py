"""Feature extraction beside a bare open_clip loop, and the memory of retrieval at COCO's size.

Both sides decode the same tars in as many processes, with open_clip's own transform, model and batch size; both count
from the opened model to the array in memory. Ours looks up the tars, and writes its cache, in that time.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.measure import REPOSITORY, Result
from tests.evals import small_world

if TYPE_CHECKING:
    from evals.model import ClipModel

_IMAGES, _DIFFERENT, _SIDE, _BATCH, _ROUNDS = 10_000, 100, 256, 64, 3
_FLOOR = 0.95
_MODEL: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
_COCO_IMAGES, _COCO_CAPTIONS, _WIDTH = 5_000, 25_000, 512
_MAX_BYTES = 1.5e9


def measure(folder: Path) -> list[Result]:
    """Return the two rows."""
    return [_speed(folder), _memory()]


def _speed(folder: Path) -> Result:
    from evals.features import Extraction, image_features
    from evals.folder import open_folder
    from evals.model import open_model

    workers = len(os.sched_getaffinity(0))
    data = _photos(folder / "data", workers)
    model = open_model(str(small_world.write_model(folder / "model", _MODEL)))
    ratios = []
    for number in range(_ROUNDS):
        start = time.perf_counter()
        bare = _bare_loop(data, model, workers)
        middle = time.perf_counter()
        how = Extraction(_BATCH, workers, folder / f"cache-{number}")
        ours = image_features(model, open_folder(data).split("test"), ("post",), how)["post"]
        end = time.perf_counter()
        assert ours.shape == bare.shape == (_IMAGES, _MODEL["embed_dim"])
        np.testing.assert_allclose(ours.mean(axis=0), bare.mean(axis=0), atol=1e-4)  # the bare loop mixes the tars
        ratios.append((middle - start) / (end - middle))
    told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    middle_one = statistics.median(ratios)
    what = f"features of {_IMAGES} images, over a bare open_clip loop"
    return Result(what, f"{middle_one:.2f} ({told})", f"{_FLOOR}", middle_one >= _FLOOR)


def _bare_loop(data: Path, model: ClipModel, workers: int) -> np.ndarray:
    """What one writes by hand: webdataset, a DataLoader, encode_image."""
    import torch
    import webdataset

    shards = sorted(str(path) for path in (data / "test").glob("*.tar"))
    samples = webdataset.WebDataset(shards, shardshuffle=False).decode("pilrgb").to_tuple("jpg")
    batched = samples.map_tuple(model.preprocess).batched(_BATCH)
    loader = torch.utils.data.DataLoader(batched, batch_size=None, num_workers=workers)
    with torch.inference_mode():
        return np.concatenate([model.module.encode_image(images).numpy() for (images,) in loader])


def _photos(folder: Path, shards: int) -> Path:
    """Write as many tars as the bare loop has processes: a process of its takes whole tars."""
    from PIL import Image

    random = np.random.default_rng(0)
    contents = []
    for _ in range(_DIFFERENT):
        rough = random.integers(0, 256, (_SIDE // 8, _SIDE // 8, 3)).astype(np.uint8)
        contents.append(small_world.encoded(Image.fromarray(rough).resize((_SIDE, _SIDE)), "jpg"))

    def members(first: int) -> Iterator[tuple[str, bytes]]:
        for number in range(first, _IMAGES, shards):
            yield f"{number:06d}.jpg", contents[number % _DIFFERENT]
            yield f"{number:06d}.cls", b"0"

    small_world.write_split(folder, "test", [members(first) for first in range(shards)])
    small_world.write_texts(folder, ["all"], ["{c}"])
    return folder


def _memory() -> Result:
    """Run in a process of its own: the figure is its peak."""
    words = [sys.executable, "-m", "tests.benchmarks.eval_features"]
    done = subprocess.run(words, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    peak = float(done.stdout.split()[-1])
    what = f"retrieval, {_COCO_IMAGES} images x {_COCO_CAPTIONS} captions: peak memory"
    return Result(what, f"{peak / 1e9:.2f} GB", f"{_MAX_BYTES / 1e9} GB", peak < _MAX_BYTES)


def _retrieve() -> None:
    from evals.retrieval import measure as recalls

    random = np.random.default_rng(0)
    images = random.standard_normal((_COCO_IMAGES, _WIDTH), np.float32)
    image_of = np.repeat(np.arange(_COCO_IMAGES), _COCO_CAPTIONS // _COCO_IMAGES)
    texts = images[image_of] + 8 * random.standard_normal((_COCO_CAPTIONS, _WIDTH), np.float32)
    print(recalls(images, texts, image_of).metrics)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    _retrieve()
