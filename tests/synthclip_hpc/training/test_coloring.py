"""Random colours: bounds, what stays, and that a sample's follow from its seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.data.coloring import recolored
from synthclip_hpc.training.settings import check_settings


def picture(seed=1, size=16):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def test_without_strength_the_pixels_are_the_same_object():
    pixels = picture()
    assert recolored(pixels, 0.0, 7) is pixels


def test_a_seed_gives_the_same_colours_and_another_seed_others():
    pixels = picture()
    assert np.array_equal(recolored(pixels, 0.4, 7), recolored(pixels, 0.4, 7))
    assert len({recolored(pixels, 0.4, seed).tobytes() for seed in range(50)}) == 50


def test_the_given_pixels_are_not_changed():
    pixels = picture()
    before = pixels.copy()
    found = recolored(pixels, 0.4, 7)
    assert np.array_equal(pixels, before)
    assert found.dtype == np.uint8
    assert found.shape == pixels.shape


def test_grey_pixels_change_in_brightness_alone_and_within_the_strength():
    grey = np.full((4, 4, 3), 100, np.uint8)
    levels = []
    for seed in range(400):
        found = recolored(grey, 0.3, seed)
        assert found.max() - found.min() <= 1  # each channel is rounded for itself
        levels.append(int(found[0, 0, 0]))
    # 100 times 0.7 to 1.3, both ends nearly reached.
    assert 70 <= min(levels) <= 72
    assert 128 <= max(levels) <= 130
    assert abs(np.mean(levels) - 100) < 2


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_the_change_is_a_blend_with_grey_and_a_factor_on_all(strength):
    pixels = picture()
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    for seed in range(20):
        found = recolored(pixels, strength, seed)
        # Least squares over pixels that were not cut off: found = a * pixel + b * luma, where a + b is the brightness.
        kept = ((found > 0) & (found < 255)).all(axis=-1)
        if kept.sum() < 20:
            continue
        columns = np.stack([pixels[kept].reshape(-1).astype(float), np.repeat(luma[kept], 3)], axis=1)
        (a, b), *_ = np.linalg.lstsq(columns, found[kept].reshape(-1).astype(float), rcond=None)
        assert 1 - strength - 0.02 <= a + b <= 1 + strength + 0.02
        assert np.abs(columns @ (a, b) - found[kept].reshape(-1)).max() < 1.01


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_strength_that_cannot_be_is_refused(value):
    with pytest.raises(UserError, match=r"train\.color_jitter=.*0 to 1"):
        check_settings(TrainConfig(color_jitter=value))
