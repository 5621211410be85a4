"""A small world to measure: data sets of drawn pictures, and a model with an opinion on them, the same on any machine.

Pictures come from a seeded generator and are stored without loss. The weights are random, but for the last matrix of
the image tower: it is fitted to texts by least squares, which comes out the same everywhere but for rounding, as
training would not.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "yellow": (230, 220, 40)}
SHAPES = ("disc", "square", "cross")
CLASSES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
TEMPLATES = ("a photo of a {c}.", "{c}", "a drawing of the {c}.")
_FORMATS = ("png", "webp")
CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
VIT_CONFIG = CONFIG | {
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 48, "head_width": 24, "patch_size": 8, "mlp_ratio": 2.0}
}
Member = tuple[str, bytes]


def picture(number: int, kind: int) -> Any:
    """Draw a picture of class `kind`; some are grey, some have a palette, and their sides differ."""
    from PIL import Image

    random = np.random.default_rng([7, number])
    height, width = (int(side) for side in random.integers(24, 56, 2))
    pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    rows, columns = np.mgrid[0:height, 0:width]
    across, down = abs(columns - width // 2), abs(rows - height // 2)
    shape = SHAPES[kind % len(SHAPES)]
    inside = {
        "disc": across**2 + down**2 < 100,
        "square": np.maximum(across, down) < 9,
        "cross": np.minimum(across, down) < 3,
    }
    pixels[inside[shape]] = list(COLOURS.values())[kind // len(SHAPES)]
    image = Image.fromarray(pixels)
    return image.convert(("RGB", "RGB", "L", "P", "RGBA")[number % 5])


def encoded(image: Any, extension: str) -> bytes:
    buffer = io.BytesIO()
    if extension == "jpg":
        image.save(buffer, "jpeg", quality=90)
    elif extension == "webp":
        image.convert("RGB").save(buffer, "webp", lossless=True)
    else:
        image.save(buffer, "png")
    return buffer.getvalue()


def write_tar(path: Path, members: Iterable[Member]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def write_split(folder: Path, split: str, shards: Sequence[Iterable[Member]]) -> None:
    for number, members in enumerate(shards):
        write_tar(folder / split / f"{number}.tar", members)
    (folder / split / "nshards.txt").write_text(f"{len(shards)}\n")


def write_texts(folder: Path, classes: Sequence[str], templates: Sequence[str]) -> None:
    (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in classes))
    (folder / "zeroshot_classification_templates.txt").write_text("".join(f"{line}\n" for line in templates))


def write_classification(folder: Path, images: int = 240, shards: int = 2, first: int = 0) -> Path:
    """Write a test split of the twelve classes, unevenly filled."""
    kinds = np.random.default_rng(5).integers(0, len(CLASSES), images) ** 2 // len(CLASSES)
    kinds[: len(CLASSES)] = np.arange(len(CLASSES))
    made = [list(_members(first + number, int(kind), f"{kind}\n")) for number, kind in enumerate(kinds)]
    write_split(folder, "test", [[m for one in made[start::shards] for m in one] for start in range(shards)])
    write_texts(folder, CLASSES, TEMPLATES)
    return folder


def write_retrieval(folder: Path, images: int = 120) -> Path:
    """Write a test split in which images have one to five captions, all of them different."""
    random = np.random.default_rng(6)
    members = []
    for number in range(images):
        kind = int(random.integers(len(CLASSES)))
        captions = [f"a {CLASSES[kind]} number {5 * number + one}" for one in range(1 + number % 5)]
        members += _members(1000 + number, kind, "\n".join(captions), "txt")
    write_split(folder, "test", [members])
    (folder / "dataset_type.txt").write_text("retrieval")
    return folder


def _members(number: int, kind: int, note: str, extension: str = "cls") -> list[Member]:
    image = _FORMATS[number % 2]
    key = f"s{number:05d}"
    return [(f"{key}.{image}", encoded(picture(number, kind), image)), (f"{key}.{extension}", note.encode())]


def write_model(
    folder: Path, config: dict[str, Any] | None = None, seen: Sequence[tuple[Any, str]] | None = None
) -> Path:
    """Write a model as a training exports one: a folder that open_clip loads by `local-dir:`.

    `seen` are the (picture, text) pairs that its last matrix is fitted to; by default drawn pictures and their classes.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file

    taken = config or CONFIG
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        model = open_clip.CLIP(**json.loads(json.dumps(taken))).eval()
        stir(model)
    pairs = seen or [(picture(5000 + number, number % 12), CLASSES[number % 12]) for number in range(240)]
    size = taken["vision_cfg"]["image_size"]
    preprocess = {"size": size, "interpolation": "bilinear", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]}
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**preprocess), is_train=False)
    _fit(model, pairs, transform, open_clip.SimpleTokenizer(context_length=taken["text_cfg"]["context_length"]))
    folder.mkdir(parents=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    content = {"model_cfg": taken, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return folder


def stir(model: Any) -> None:
    """Give batch norm the scales that training would: open_clip begins a block's last ones at zero."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bn3.weight"):
                parameter.uniform_(0.5, 1.5)


def _fit(model: Any, pairs: Sequence[tuple[Any, str]], transform: Any, tokenize: Any) -> None:
    """Ridge regression from what stands before the image tower's last matrix to the texts' embeddings.

    The ridge is high, so that rounding in a feature stays rounding in an embedding.
    """
    import torch

    from evals.layers import encode_images

    with torch.no_grad():
        pixels = torch.stack([transform(image.convert("RGB")) for image, _ in pairs])
        # Batch norm takes on these pictures' statistics; without, all pictures have nearly the same features.
        for part in model.visual.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 1.0
        model.train()
        model.encode_image(pixels)
        model.eval()
        images = encode_images(model, pixels, ("pre",))["pre"].double()
        texts = model.encode_text(tokenize([text for _, text in pairs])).double()
        mean = images.mean(dim=0)
        spread = (images - mean).T @ (images - mean)
        ridge = 0.1 * spread.diagonal().mean() * torch.eye(len(spread), dtype=torch.float64)
        turn = torch.linalg.solve(spread + ridge, (images - mean).T @ (texts - texts.mean(dim=0)))
        last = model.visual.attnpool.c_proj
        last.weight.copy_(turn.T)
        last.bias.copy_(-turn.T @ mean)
