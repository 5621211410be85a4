"""Features of images and texts: made once for each (model, data, layer), kept in a cache, shared by the tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from evals.cache import Arrays, identity_hash, remember
from evals.devices import is_out_of_memory
from evals.errors import EvalError
from evals.folder import Split
from evals.images import batches, default_workers
from evals.layers import Layer, encode_images
from evals.model import ClipModel, Precision
from evals.session import between_batches

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]
Part = TypeVar("Part")
_SHOWN = 100
"""Characters of a text in a message."""


@dataclass(frozen=True)
class Extraction:
    """How features are made; none of it changes what they are, but for rounding."""

    batch_size: int = 64
    workers: int | None = None
    """Processes that decode; None: one a core."""
    cache: Path | None = None
    """None: features are not kept."""
    used: list[int] = field(default_factory=list, init=False, repr=False, compare=False)
    """Batch sizes that features made or taken with this were really made with; the functions below add to it."""

    @property
    def batch_size_used(self) -> int:
        """The smallest batch that these features were made with: below `batch_size` where memory was too small."""
        return min(self.used, default=self.batch_size)


def image_features(
    model: ClipModel, split: Split, layers: tuple[Layer, ...], how: Extraction | None = None
) -> dict[Layer, Floats]:
    """Return features [n, width] of all images of a split, for each layer, not normalised.

    Layers that are missing in the cache are made together, in one pass. An accelerator that runs out of memory gets
    half as much at a time, which is told on stderr and in `how.used`. Raises EvalError, also for features that are not
    finite.
    """
    how = how or Extraction()
    found: dict[Layer, Floats] = {}
    made: dict[Layer, Arrays] = {}
    for layer in layers:

        def make(layer: Layer = layer) -> Arrays:
            if layer not in made:
                made.update(_encode_split(model, split, tuple(one for one in layers if one not in found), how))
            return made[layer]

        found[layer] = _remembered(_image_identity(model, split, layer), make, how)
    return found


def text_features(model: ClipModel, texts: Sequence[str], how: Extraction | None = None) -> Floats:
    """Return features [n, width] of texts, not normalised. Equal texts are encoded once and have equal features.

    Raises EvalError for features that are not finite.
    """
    how = how or Extraction()
    own = {"kind": "texts", "texts": identity_hash({"texts": list(texts)}), "tokenizer": model.tokenizer}
    return _remembered({**own, **_model_identity(model)}, lambda: _encode_texts(model, texts, how), how)


def image_versions() -> dict[str, str]:
    """Return the versions of what decodes and resizes images: with others, pixels may differ in their last bits."""
    import PIL
    import torchvision

    return {"torchvision": torchvision.__version__, "pillow": PIL.__version__}


def _remembered(identity: dict[str, Any], make: Callable[[], Arrays], how: Extraction) -> Floats:
    arrays = remember(how.cache, identity, ["batch_size", "features"], make)
    how.used.append(int(arrays["batch_size"]))
    features: Floats = arrays["features"]
    return features


def _as_arrays(features: Floats, batch_size: int) -> Arrays:
    return {"features": features, "batch_size": np.array(batch_size)}


def _model_identity(model: ClipModel) -> dict[str, Any]:
    import open_clip
    import torch

    # Versions and device change the last bits: with others, features are made anew rather than taken for equal.
    versions = {"torch": torch.__version__, "open_clip": open_clip.__version__, "device": model.device.type}
    return {"model": model.sha256, "precision": model.precision, **versions}


def _image_identity(model: ClipModel, split: Split, layer: Layer) -> dict[str, Any]:
    own = {"kind": "images", "data": split.key, "split": split.name, "layer": layer}
    return {**own, "preprocess": model.preprocess_config, **image_versions(), **_model_identity(model)}


def _encode_split(model: ClipModel, split: Split, layers: tuple[Layer, ...], how: Extraction) -> dict[Layer, Arrays]:
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
                    _check_finite(part[layer], done, images.name, model.precision)
                    if layer not in found:
                        found[layer] = np.empty((len(images), part[layer].shape[1]), np.float32)
                    found[layer][done : done + size] = part[layer]
                done += size
    return {layer: _as_arrays(features, encoder.size) for layer, features in found.items()}


def _run(model: ClipModel, pixels: torch.Tensor, layers: tuple[Layer, ...]) -> dict[Layer, Floats]:
    with model.autocast():
        made = encode_images(model.module, pixels.to(model.device, non_blocking=True), layers)
    return {layer: made[layer].float().cpu().numpy() for layer in layers}


def _encode_texts(model: ClipModel, texts: Sequence[str], how: Extraction) -> Arrays:
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
    features = np.concatenate(parts)
    _check_finite(features, 0, lambda row: f"text {different[row][:_SHOWN]!r}", model.precision)
    return _as_arrays(features[[place[text] for text in texts]], encoder.size)


def _check_finite(rows: Floats, first: int, name: Callable[[int], str], precision: Precision) -> None:
    """Raise EvalError for a row whose length is no finite number: ranks among such scores mean nothing.

    `name` tells what an item is called; that of the first row has the number `first`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.einsum("nw,nw->n", rows, rows)
    bad = np.flatnonzero(~np.isfinite(lengths))
    if len(bad):
        overflow = "" if precision == "fp32" else f", or precision={precision} overflows: try precision=fp32"
        raise EvalError(
            f"features of {name(first + int(bad[0]))} are not finite, so nothing can be measured by them: the model "
            f"diverged (look at its loss, give an earlier checkpoint){overflow}"
        )


class _Halving(Generic[Part]):
    """Runs a model on a batch, in smaller parts once the device has run out of memory."""

    def __init__(self, run: Callable[[torch.Tensor], Part], size: int) -> None:
        self._run = run
        self.size = size
        """Of the parts, now."""

    def __call__(self, batch: torch.Tensor) -> list[Part]:
        """Return the results of the parts of a batch, in order. Raises EvalError when a single item is too much."""
        done: list[Part] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + self.size]
            try:
                done.append(self._run(part))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(part), error)
                continue
            start += len(part)
        return done

    def _halve(self, tried: int, error: BaseException) -> None:
        import torch

        if tried == 1:
            raise EvalError(f"out of memory with one image or text at a time ({error}); give another device") from error
        self.size = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(f"evals: out of memory with batches of {tried}, goes on with {self.size}", file=sys.stderr)
