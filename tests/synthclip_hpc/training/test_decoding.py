"""Crops and pixels: those of torchvision, whatever the image is."""

from __future__ import annotations

import io

import numpy as np
import pytest

from synthclip_hpc.training.data.cropping import Box, Dice, random_box
from synthclip_hpc.training.data.decoding import BrokenSample, show
from tests.synthclip_hpc.training.data_sets import picture

pytestmark = pytest.mark.engines


def by_torchvision(content, size, box, interpolation):
    from PIL import Image
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resized_crop

    image = Image.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(
        resized_crop(
            image, box.top, box.left, box.height, box.width, [size, size], InterpolationMode(interpolation)
        )
    )  # fmt: skip


def chosen(width, height, box, content, size, interpolation="bilinear"):
    def choose(*found):
        assert found == (width, height)
        return box

    return show(content, size, choose, interpolation)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("box", [Box(0, 0, 96, 80), Box(11, 3, 71, 66), Box(90, 70, 6, 10), Box(5, 7, 1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pixels_are_torchvisions_where_a_jpeg_is_decoded_in_full(interpolation, box, mode):
    content = picture(1, 96, 80, mode=mode)
    found = chosen(96, 80, box, content, 64, interpolation)
    assert (found.shape, found.dtype) == ((64, 64, 3), np.uint8)
    assert np.array_equal(found, by_torchvision(content, 64, box, interpolation))


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "L"), ("WEBP", "RGB")]
)
def test_other_formats_are_decoded_as_well(kind, mode):
    content = picture(2, 60, 90, kind, mode)
    box = Box(4, 20, 50, 60)
    assert np.array_equal(chosen(60, 90, box, content, 32), by_torchvision(content, 32, box, "bilinear"))


@pytest.mark.parametrize("box", [Box(3, 3, 506, 378), Box(97, 31, 300, 299), Box(209, 81, 299, 299)])
def test_a_large_jpeg_is_decoded_smaller_and_shows_the_same_part(box, monkeypatch):
    import simplejpeg

    content = picture(3, 512, 384)
    decoded, real = [], simplejpeg.decode_jpeg

    def watched(*arguments, **options):
        decoded.append(real(*arguments, **options))
        return decoded[-1]

    monkeypatch.setattr(simplejpeg, "decode_jpeg", watched)
    found = chosen(512, 384, box, content, 64)
    rows, columns = decoded[0].shape[:2]
    assert rows < 384 and columns < 512
    # The crop has as many pixels as are wanted.
    assert box.width * columns / 512 >= 64 and box.height * rows / 384 >= 64

    def far_from(left, top):
        other = by_torchvision(content, 64, box._replace(left=box.left + left, top=box.top + top), "bilinear")
        return np.abs(found.astype(int) - other.astype(int)).mean()

    # Dots of 8 pixels, shown at a fifth of their size: the two ways to make them smaller differ, but by no shift.
    assert far_from(0, 0) < 3
    assert far_from(0, 0) < 0.7 * min(far_from(-3, 0), far_from(3, 0), far_from(0, -3), far_from(0, 3))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        picture(4)[:-200],
        picture(4)[:30],
        picture(4, kind="PNG")[:-60],
        b"\xff\xd8\xff" + bytes(500),
    ],
    ids=["empty", "text", "cut JPEG", "header", "cut PNG", "zeros"],
)
def test_damaged_images_are_told(content):
    with pytest.raises(BrokenSample):
        show(content, 16, lambda width, height: Box(0, 0, width, height), "bilinear")


def test_random_numbers_are_those_of_splitmix64():
    # The published first outputs for the seed 1234567, of which the 53 leading bits are taken.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    dice = Dice(1234567)
    assert [dice.uniform() for _ in published] == [(one >> 11) * 2.0**-53 for one in published]


@pytest.mark.parametrize(("width", "height"), [(96, 96), (640, 480), (100, 700), (3, 3), (1, 1), (700, 100), (1, 9)])
@pytest.mark.parametrize("crop_min", [0.5, 0.08, 1.0])
def test_crops_lie_inside_the_image(width, height, crop_min):
    for seed in range(200):
        left, top, w, h = random_box(width, height, crop_min, seed)
        assert w >= 1 and h >= 1 and left >= 0 and top >= 0
        assert left + w <= width and top + h <= height


def test_crops_are_spread_as_those_of_torchvision():
    import torch
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    blank, num = torch.empty(1, 120, 100), 4000
    theirs = np.array([RandomResizedCrop.get_params(blank, (0.5, 1.0), (3 / 4, 4 / 3)) for _ in range(num)])
    boxes = [random_box(100, 120, 0.5, seed) for seed in range(num)]
    ours = np.array([(box.top, box.left, box.height, box.width) for box in boxes])
    # Standard error of a mean is 0.2 pixels or less.
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 0.8
    assert np.abs(ours.std(0) - theirs.std(0)).max() < 0.8
    assert (ours[:, 2] * ours[:, 3]).min() >= 0.49 * 100 * 120


def test_an_image_that_no_ratio_fits_shows_its_middle():
    assert random_box(100, 1000, 1.0, 5) == Box(0, 433, 100, 133)
    assert random_box(1000, 100, 1.0, 5) == Box(433, 0, 133, 100)
    assert random_box(64, 64, 1.0, 5) == Box(0, 0, 64, 64)
