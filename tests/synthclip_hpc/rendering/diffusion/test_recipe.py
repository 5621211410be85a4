"""What a configuration comes to: presets, what overrides them, what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from synthclip_hpc.config.render import DiffusionConfig, RenderConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.rendering.diffusion.recipe import settled


def render(preset: str | None = None, own: dict[str, Any] | None = None, **more: Any) -> RenderConfig:
    return dataclasses.replace(
        RenderConfig(renderer="diffusion", preset=preset, diffusion=DiffusionConfig(**(own or {}))), **more
    )


@pytest.mark.parametrize(
    ("preset", "numbers", "guided"),
    [
        (None, ("stable-diffusion-v1-5/stable-diffusion-v1-5", "DDIMScheduler", 50, 2.0, 512), True),
        ("sd15", ("stable-diffusion-v1-5/stable-diffusion-v1-5", "DDIMScheduler", 50, 2.0, 512), True),
        ("sd-turbo", ("stabilityai/sd-turbo", "own", 1, 0.0, 512), False),
        ("sdxl-turbo", ("stabilityai/sdxl-turbo", "own", 1, 0.0, 512), False),
        ("lcm", ("SimianLuo/LCM_Dreamshaper_v7", "own", 4, 8.0, 512), True),
    ],
)
def test_presets_have_the_numbers_that_their_authors_give(preset, numbers, guided):
    recipe = settled(render(preset))
    assert (recipe.model, recipe.scheduler, recipe.steps, recipe.guidance, recipe.native_size) == numbers
    assert recipe.guided is guided


def test_every_number_of_a_preset_can_be_overridden():
    own = {"model": "m", "revision": "r", "scheduler": "own", "steps": 7, "guidance": 0.0, "native_size": 64}
    recipe = settled(render("sd15", own))
    assert {name: getattr(recipe, name) for name in own} == own


def test_auto_is_bfloat16_on_a_gpu_and_float32_on_the_cpu():
    assert settled(render()).dtype == "bfloat16"
    assert settled(render(device="cpu")).dtype == "float32"
    assert settled(render(device="cpu", dtype="float16")).dtype == "float16"


def test_a_model_without_preset_brings_its_own_numbers():
    own = {"model": "some/model", "steps": 28, "guidance": 3.5, "native_size": 1024}
    assert settled(render(None, own)).scheduler == "own"
    for missing in ("steps", "guidance", "native_size"):
        with pytest.raises(UserError, match=rf"render.diffusion.{missing} must be given"):
            settled(render(None, {key: value for key, value in own.items() if key != missing}))


@pytest.mark.parametrize(
    ("changes", "own", "told"),
    [
        ({"preset": "sd16"}, {}, r"render.preset=sd16: no such preset \(did you mean 'sd15'\?\)"),
        ({"device": "gpu"}, {}, "render.device=gpu: no such device"),
        ({"dtype": "bf16"}, {}, "render.dtype=bf16: no such dtype.*Valid: auto, float32, bfloat16, float16"),
        ({"threads": 0}, {}, "render.threads=0"),
        ({"batch_items": 0}, {}, "render.batch_items=0"),
        ({}, {"steps": 0}, "render.diffusion.steps=0: wanted a whole number from 1"),
        ({}, {"guidance": -1.0}, "render.diffusion.guidance=-1.0"),
        ({}, {"guidance": float("nan")}, "render.diffusion.guidance=nan"),
        ({}, {"native_size": 100}, "render.diffusion.native_size=100: wanted a multiple of 8"),
        ({}, {"native_size": 0}, "render.diffusion.native_size=0"),
        ({}, {"device_batch_items": -1}, "render.diffusion.device_batch_items=-1"),
        ({}, {"scheduler": "DDIM Scheduler"}, "render.diffusion.scheduler=DDIM Scheduler"),
    ],
)
def test_values_that_cannot_be_are_refused(changes, own, told):
    with pytest.raises(UserError, match=told):
        settled(render(own=own, **changes))
