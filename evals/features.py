"""Features of images and texts: made once for each (model, data, layer), kept in a cache, shared by the tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from evals.cache import identity_hash, remember
from evals.errors import EvalError
from evals.folder import Split
from evals.images import batches, default_workers
from evals.layers import Layer, encode_images
from evals.model import ClipModel
from evals.session import between_batches

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]
Part = TypeVar("Part")


@dataclass(frozen=True)
class Extraction:
    """How features are made; none of it changes what they are, but for rounding."""

    batch_size: int = 64
    workers: int | None = None
    """Processes that decode; None: one a core."""
    cache: Path | None = None
    """None: features are not kept."""


def image_features(
    model: ClipModel, split: Split, layers: tuple[Layer, ...], how: Extraction = Extraction()
) -> dict[Layer, Floats]:
    """Return features [n, width] of all images of a split, for each layer, not normalised.

    Layers that are missing in the cache are made together, in one pass. An accelerator that runs out of memory gets
    half as much at a time, which is told on stderr. Raises EvalError.
    """
    found: dict[Layer, Floats] = {}
    made: dict[Layer, Floats] = {}
    for layer in layers:

        def make(layer: Layer = layer) -> dict[str, npt.NDArray[Any]]:
            if layer not in made:
                made.update(_encode_split(model, split, tuple(one for one in layers if one not in found), how))
            return {"features": made[layer]}

        found[layer] = remember(how.cache, _image_identity(model, split, layer), ["features"], make)["features"]
    return found


def text_features(model: ClipModel, texts: Sequence[str], how: Extraction = Extraction()) -> Floats:
    """Return features [n, width] of texts, not normalised. Equal texts are encoded once and have equal features."""
    identity = {"kind": "texts", "texts": identity_hash({"texts": list(texts)}), **_model_identity(model)}
    return remember(how.cache, identity, ["features"], lambda: {"features": _encode_texts(model, texts, how)})[
        "features"
    ]


def _model_identity(model: ClipModel) -> dict[str, Any]:
    import open_clip
    import torch

    # Versions and device change the last bits: with others, features are made anew rather than taken for equal.
    versions = {"torch": torch.__version__, "open_clip": open_clip.__version__, "device": model.device.type}
    return {"model": model.sha256, "precision": model.precision, **versions}


def _image_identity(model: ClipModel, split: Split, layer: Layer) -> dict[str, Any]:
    own = {"kind": "images", "data": split.key, "split": split.name, "layer": layer}
    return {**own, "preprocess": model.preprocess_config, **_model_identity(model)}


def _encode_split(model: ClipModel, split: Split, layers: tuple[Layer, ...], how: Extraction) -> dict[Layer, Floats]:
    import torch

    images = split.images
    workers = default_workers() if how.workers is None else how.workers
    found: dict[Layer, Floats] = {}
    encoder = _Halving(lambda pixels: _run(model, pixels, layers), how.batch_size)
    done = 0
    with torch.inference_mode():
        for pixels in batches(images, model.preprocess, how.batch_size, workers, model.device.type == "cuda"):
            between_batches()
            for part in encoder(pixels):
                size = len(part[layers[0]])
                for layer in layers:
                    if layer not in found:
                        found[layer] = np.empty((len(images), part[layer].shape[1]), np.float32)
                    found[layer][done : done + size] = part[layer]
                done += size
    return found


def _run(model: ClipModel, pixels: torch.Tensor, layers: tuple[Layer, ...]) -> dict[Layer, Floats]:
    with model.autocast():
        made = encode_images(model.module, pixels.to(model.device, non_blocking=True), layers)
    return {layer: made[layer].float().cpu().numpy() for layer in layers}


def _encode_texts(model: ClipModel, texts: Sequence[str], how: Extraction) -> Floats:
    import torch

    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    different = list(place)

    def encode(tokens: torch.Tensor) -> Floats:
        with model.autocast():
            made: Floats = model.module.encode_text(tokens.to(model.device)).float().cpu().numpy()  # type: ignore[operator]
        return made

    encoder = _Halving(encode, how.batch_size)
    parts: list[Floats] = []
    with torch.inference_mode():
        for start in range(0, len(different), how.batch_size):
            between_batches()
            parts += encoder(model.tokenize(different[start : start + how.batch_size]))
    return np.concatenate(parts)[[place[text] for text in texts]]


class _Halving(Generic[Part]):
    """Runs a model on a batch, in smaller parts once the device has run out of memory."""

    def __init__(self, run: Callable[[torch.Tensor], Part], size: int) -> None:
        self._run = run
        self._size = size

    def __call__(self, batch: torch.Tensor) -> list[Part]:
        """Return the results of the parts of a batch, in order. Raises EvalError when a single item is too much."""
        done: list[Part] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + self._size]
            try:
                done.append(self._run(part))
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._halve(len(part), error)
                continue
            start += len(part)
        return done

    def _halve(self, tried: int, error: BaseException) -> None:
        import torch

        if tried == 1:
            raise EvalError(f"out of memory with one image or text at a time ({error}); give another device") from error
        self._size = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(f"evals: out of memory with batches of {tried}, goes on with {self._size}", file=sys.stderr)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
