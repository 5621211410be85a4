"""Pictures of training: their size, that they show what they are given, and that they are the same each time."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from synthclip_hpc.training.plots import _smoothed, loss_png, throughput_png

pytest.importorskip("matplotlib")


def rows(num: int) -> list[dict]:
    return [{"step": step, "loss": 3 + 5 / step, "lr": 1e-4 * step} for step in range(1, num + 1)]


def timings(num: int) -> list[dict]:
    return [
        {"step": 20 * place, "samples_per_s": 100.0 + place, "data_wait_s": 0.1, "step_s": 0.5, "mfu": None}
        for place in range(1, num + 1)
    ]


def pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("num", [1, 2, 300, 9000])
def test_a_picture_of_the_loss_has_its_size_and_the_same_bytes_again(num):
    png = loss_png(rows(num))
    assert pixels(png).shape == (900, 1600, 3) and png == loss_png(rows(num))


@pytest.mark.parametrize("num", [1, 100])
def test_a_picture_of_the_speed_has_its_size_and_the_same_bytes_again(num):
    png = throughput_png(timings(num))
    assert pixels(png).shape == (900, 1600, 3) and png == throughput_png(timings(num))


def test_the_curves_are_drawn():
    colours = {tuple(colour) for colour in pixels(loss_png(rows(300))).reshape(-1, 3)}
    assert {(0x0B, 0x6E, 0x99), (0xC8, 0x55, 0x3D)} <= colours


def test_a_loss_that_diverged_is_drawn_as_far_as_it_is_finite():
    diverged = [{**row, "loss": math.nan if row["step"] > 20 else row["loss"]} for row in rows(30)]
    assert loss_png(diverged) != loss_png(rows(30))
    assert pixels(loss_png([{**row, "loss": math.inf} for row in rows(5)])).shape == (900, 1600, 3)


def test_smoothing_is_a_mean_of_the_neighbours():
    values = np.arange(100, dtype=np.float64)
    assert _smoothed(values)[50] == 50.0 and _smoothed(values)[0] == 0.5
    assert _smoothed(np.array([7.0])).tolist() == [7.0]


def test_of_a_step_measured_twice_the_later_counts():
    twice = [{**timings(1)[0], "samples_per_s": 1.0}, timings(1)[0]]
    assert throughput_png(twice) == throughput_png(timings(1))


@pytest.mark.parametrize("draw", [loss_png, throughput_png])
def test_nothing_to_draw_is_an_error(draw):
    with pytest.raises(ValueError, match="to draw"):
        draw([])
