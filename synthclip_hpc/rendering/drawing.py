"""A batch of images, each drawn until it is usable or its tries are used up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from sharding.ids import derive
from synthclip_hpc.rendering.renderer import Picture, Request

if TYPE_CHECKING:
    import numpy as np

UNIFORM = "uniform"
"""Why a picture of one colour is rejected: what a pipeline whose numbers went wrong often draws."""


class Drawn(NamedTuple):
    """What became of one caption."""

    picture: Picture
    """The first usable picture, else the last one rejected."""
    seed: int
    """Of that picture."""
    tries: int
    """Pictures drawn for it, from 1."""


def image_seed(run_seed: int, caption_id: int, attempt: int) -> int:
    """Return the seed of a caption's image, 0 to 2^63 - 1; `attempt` counts from 0."""
    # One bit less than an identity has, so that every JSON reader holds it as a whole number.
    return derive(run_seed, caption_id, f"image-{attempt}") >> 1


def draw_batch(
    draw: Callable[[Sequence[Request]], list[Picture]],
    captions: Sequence[tuple[int, str]],
    run_seed: int,
    max_tries: int,
) -> list[Drawn]:
    """Draw the images of a batch of (caption id, caption), in order.

    Those without a usable picture are drawn again with their next seed, together and apart from the others, so that
    what a batch holds decides which images are made in which company, and nothing else does.

    Raises RuntimeError for a renderer that answers with another number of pictures or with something that is none; what
    it raises, as it comes.
    """
    results: list[Drawn | None] = [None] * len(captions)
    todo = list(range(len(captions)))
    for attempt in range(max_tries):
        requests = [Request(captions[at][1], image_seed(run_seed, captions[at][0], attempt)) for at in todo]
        pictures = draw(requests)
        if len(pictures) != len(requests):
            raise RuntimeError(f"the renderer was asked for {len(requests)} pictures and gave {len(pictures)}")
        again = []
        for at, request, picture in zip(todo, requests, pictures, strict=True):
            looked_at = _refuse_uniform(_checked(picture))
            results[at] = Drawn(looked_at, request.seed, attempt + 1)
            if looked_at.pixels is None and looked_at.may_retry:
                again.append(at)
        todo = again
        if not todo:
            break
    return [drawn for drawn in results if drawn is not None]


def _checked(picture: Picture) -> Picture:
    """Return a picture as it is; a renderer of the user's may have made it."""
    pixels = picture.pixels
    if (pixels is None) == (not picture.reject_reason):
        raise RuntimeError("the renderer gave a picture that has neither pixels nor a reject_reason, or has both")
    if pixels is not None and (pixels.dtype != "uint8" or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size):
        raise RuntimeError(
            f"the renderer gave pixels of shape {pixels.shape} and type {pixels.dtype}; wanted (height, width, 3) uint8"
        )
    return picture


def _refuse_uniform(picture: Picture) -> Picture:
    if picture.pixels is None or not _is_uniform(picture.pixels):
        return picture
    return replace(picture, pixels=None, reject_reason=UNIFORM)


def _is_uniform(pixels: np.ndarray) -> bool:
    first = pixels[0, 0]
    # Nearly always decided by a corner or the middle, without a look at the rest.
    if (pixels[-1, -1] != first).any() or (pixels[len(pixels) // 2, pixels.shape[1] // 2] != first).any():
        return False
    return bool((pixels == first).all())
