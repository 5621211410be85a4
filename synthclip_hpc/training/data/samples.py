"""Encoded samples to rows of a batch; what is broken is replaced by what follows it in the order."""

from __future__ import annotations

import json
from typing import NamedTuple

from sharding.ids import derive
from synthclip_hpc.dataset.foreign_tar import caption_of
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.data.coloring import recolored
from synthclip_hpc.training.data.cropping import random_box
from synthclip_hpc.training.data.decoding import BrokenSample, Pixels, show
from synthclip_hpc.training.data.reading import Encoded, SampleReader
from synthclip_hpc.training.data.tokens import Tokenizing, Tokens
from synthclip_hpc.training.data.training_data import TrainingData
from synthclip_hpc.training.order import SampleOrder


class Broken(NamedTuple):
    """A sample that could not be used; another one stands in its place."""

    number: int
    reason: str


class Recipe(NamedTuple):
    """How a sample becomes pixels."""

    image_size: int
    crop_min: float
    interpolation: str
    color_jitter: float
    seed: int


class Preparing:
    """Fills rows of batches. For one thread."""

    def __init__(self, data: TrainingData, order: SampleOrder, recipe: Recipe, tokenizing: Tokenizing) -> None:
        """`data` is reopened, for the samples that stand in for broken ones."""
        self._data, self._order, self._recipe, self._tokenizing = data, order, recipe, tokenizing
        self._spare_reader = SampleReader(data.reopened())

    def fill(self, step: int, first: int, samples: list[Encoded], images: Pixels, tokens: Tokens) -> list[Broken]:
        """Fill rows from the samples at places `first` and on of the batch of a step.

        `images` is uint8 [n, 3, size, size], `tokens` int64 [n, context length]. Crop and colours follow from seed,
        step and place in the batch. Returns what is broken; raises UserError when 64 samples that follow one another in
        a group are, or the whole group.
        """
        broken: list[Broken] = []
        captions = []
        for row, sample in enumerate(samples):
            pixels, caption = self._usable(step, first + row, sample, broken)
            images[row] = pixels.transpose(2, 0, 1)
            captions.append(caption)
        tokens[:] = self._tokenizing(captions)
        return broken

    def close(self) -> None:
        """Close all files."""
        self._spare_reader.close()

    def _usable(self, step: int, place: int, sample: Encoded, broken: list[Broken]) -> tuple[Pixels, str]:
        """Return pixels [size, size, 3] and caption of a sample, or of the first one behind it that is not broken."""
        shown = step * self._order.batch_size + place
        try:
            return self._made(sample, shown)
        except BrokenSample as error:
            broken.append(Broken(sample.number, str(error)))
        for number in self._order.spares(step, place).tolist():
            (spare,) = self._spare_reader.read(number, number + 1, [number])
            try:
                return self._made(spare, shown)
            except BrokenSample as error:
                broken.append(Broken(number, str(error)))
        raise UserError(
            f"{self._data.key(sample.number)}: broken ({broken[-1].reason}), and so are all samples that could stand "
            "in for it; the data set is damaged here: look at it with verify, and make the tar again or leave it out"
        )

    def _made(self, sample: Encoded, shown: int) -> tuple[Pixels, str]:
        """Return pixels and caption of a sample that is shown as number `shown`, counted from the first step on."""
        recipe = self._recipe
        caption = _caption(sample)
        crop_seed = derive(recipe.seed, shown, "crop")
        pixels = show(
            sample.image,
            recipe.image_size,
            lambda width, height: random_box(width, height, recipe.crop_min, crop_seed),
            recipe.interpolation,
        )
        return recolored(pixels, recipe.color_jitter, derive(recipe.seed, shown, "color")), caption


def _caption(sample: Encoded) -> str:
    """Return the caption: the `.txt`, without one `caption` of the `.json`. Raises BrokenSample where there is none."""
    record = None
    if sample.text is None and sample.record is not None:
        try:
            record = json.loads(sample.record)
        except (ValueError, RecursionError) as error:
            raise BrokenSample(f"damaged json: {error}") from error
    caption = caption_of(sample.text, record)
    if caption is None:
        raise BrokenSample("no caption")
    return caption
