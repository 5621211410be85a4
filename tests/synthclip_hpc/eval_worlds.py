"""Small data sets and models for tests of stage `eval`: folders in CLIP_benchmark's layout, an exported model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.evals import small_world
from tests.synthclip_hpc.app import App, Outcome

CLASSES = tuple(f"class {number}" for number in range(6))
_kept: dict[str, tempfile.TemporaryDirectory[str]] = {}


def bare_classification(
    folder: Path, *, train: int = 0, val: int = 0, test: int = 2, classes: Sequence[str] = CLASSES
) -> Path:
    """Write a data set whose images are no images, with so many of each class: enough to plan with."""
    for split, each in (("train", train), ("val", val), ("test", test)):
        members = [
            member
            for number in range(each * len(classes))
            for member in (
                (f"s{number:04d}.png", b"no image"),
                (f"s{number:04d}.cls", str(number % len(classes)).encode()),
            )
        ]
        if members:
            small_world.write_split(folder, split, [members])
    small_world.write_texts(folder, classes, ("a {c}",))
    return folder


def bare_retrieval(folder: Path, images: int = 3) -> Path:
    """Write a retrieval set whose images are no images."""
    members = [
        member
        for number in range(images)
        for member in ((f"s{number}.png", b"no image"), (f"s{number}.txt", b"a caption\nanother"))
    ]
    small_world.write_split(folder, "test", [members])
    (folder / "dataset_type.txt").write_text("retrieval")
    return folder


def bare_model(folder: Path, weights: bytes = bytes(64)) -> Path:
    """Write a folder that looks like an exported model, with one tensor of 16 numbers: enough to plan with."""
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": small_world.CONFIG, "preprocess_cfg": {}}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}}).encode()
    (folder / "open_clip_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + weights)
    return folder


def world(folder: Path) -> Path:
    """Return a folder with `shapes` (test and train), `pairs` (retrieval) and `model`, made the first time."""
    if "world" not in _kept:
        kept = tempfile.TemporaryDirectory(prefix="synthclip-tests-")
        made = Path(kept.name)
        small_world.write_classification(made / "shapes", images=48)
        kinds = [number % 12 for number in range(72)]
        images = [small_world.encoded(small_world.picture(3000 + n, kind), "png") for n, kind in enumerate(kinds)]
        members = [
            member
            for n, (kind, image) in enumerate(zip(kinds, images, strict=True))
            for member in ((f"t{n:04d}.png", image), (f"t{n:04d}.cls", str(kind).encode()))
        ]
        small_world.write_split(made / "shapes", "train", [members])
        small_world.write_retrieval(made / "pairs", images=30)
        small_world.write_model(made / "model")
        _kept["world"] = kept
    shutil.copytree(_kept["world"].name, folder)
    return folder


def evaluate(app: App, place: Path, *words: str, verb: str = "submit") -> Outcome:
    """Submit the evaluation of the model in a `world` on both of its data sets, and wait. Later words win."""
    given = {
        word.partition("=")[0]: word
        for word in (
            "stage=eval",
            f"eval.datasets={place / 'shapes'},{place / 'pairs'}",
            f"eval.model={place / 'model'}",
            "eval.checkpoints=none",
            "eval.device=cpu",
            "eval.episodes=20",
            "eval.loader_workers=0",
            "workers=1",
            *words,
        )
    }
    return app(verb, "wait=true", *given.values())
