"""Drawing with real pipelines of diffusers: seeds, batches, prompts, rejects, a device that is too small."""

from __future__ import annotations

import dataclasses
import functools
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from synthclip_hpc.config.render import RenderConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.rendering.diffusion.folder import find_pipeline
from synthclip_hpc.rendering.diffusion.prompts import clean_prompt
from synthclip_hpc.rendering.diffusion.recipe import settled
from synthclip_hpc.rendering.diffusion.renderer import DiffusionRenderer, open_diffusion
from synthclip_hpc.rendering.renderer import Picture, Request

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.engines


def opened(render: RenderConfig) -> DiffusionRenderer:
    return open_diffusion(render, find_pipeline(settled(render)))


def requests(number: int) -> list[Request]:
    return [Request(f"a fox, number {index}", seed=1000 + index) for index in range(number)]


def pixels(pictures: list[Picture]) -> np.ndarray:
    images = [picture.pixels for picture in pictures]
    return np.stack([image for image in images if image is not None])


class _Watched:
    """A pipeline that notes the images it is asked for, has memory for `most`, and may change what comes out."""

    def __init__(self, pipeline: Any, most: int = 1000, change: Callable[[Any], Any] = lambda output: output) -> None:
        self._pipeline, self._most, self._change = pipeline, most, change
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def __call__(self, **options: Any) -> Any:
        self.asked.append(len(options["prompt_embeds"]))
        if self.asked[-1] > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines")
        return self._change(self._pipeline(**options))


@pytest.mark.parametrize(("which", "preset"), [("tiny", "sd15"), ("xl", "sdxl-turbo"), ("lcm", "lcm")])
def test_images_are_those_of_a_plain_call_with_a_generator_each(configure, which, preset):
    renderer = opened(configure(which, preset))
    batch = requests(4)
    pictures = renderer.draw(batch)
    drawn = pixels(pictures)
    assert drawn.shape == (4, 64, 64, 3) and drawn.dtype == np.uint8
    assert drawn.std(axis=(1, 2, 3)).min() > 5
    plain = renderer.pipeline(
        prompt=[request.caption for request in batch],
        generator=[torch.Generator().manual_seed(request.seed) for request in batch],
        height=64,
        width=64,
        num_inference_steps=3,
        guidance_scale=renderer.recipe.guidance,
    )
    assert (drawn == np.stack([np.asarray(image) for image in plain.images])).all()
    assert (pixels(renderer.draw(batch)) == drawn).all()


def test_guided_sdxl_images_are_those_of_a_plain_call(configure):
    renderer = opened(configure("xl", "sdxl-turbo", guidance=3.0))
    [request] = requests(1)
    plain = renderer.pipeline(
        prompt=request.caption,
        generator=torch.Generator().manual_seed(request.seed),
        height=64,
        width=64,
        num_inference_steps=3,
        guidance_scale=3.0,
    )
    assert (pixels(renderer.draw([request]))[0] == np.asarray(plain.images[0])).all()


def test_a_pipeline_of_another_kind_gets_texts_and_generators(configure, monkeypatch):
    expected = pixels(opened(configure()).draw(requests(3)))
    monkeypatch.setattr("synthclip_hpc.rendering.diffusion.prompts._ENCODED", ())
    renderer = opened(configure())
    seen: list[dict[str, Any]] = []
    real = renderer.pipeline

    def noted(**options: Any) -> Any:
        seen.append(options)
        return real(**options)

    renderer.pipeline = noted
    assert (pixels(renderer.draw(requests(3))) == expected).all()
    assert seen[0]["prompt"] == [request.caption for request in requests(3)]
    assert len(seen[0]["generator"]) == 3 and "latents" not in seen[0]


def test_a_fresh_renderer_draws_the_same(configure):
    render = configure()
    first = pixels(opened(render).draw(requests(3)))
    renderer = opened(render)
    renderer.draw([Request("something else", 5)])
    assert (pixels(renderer.draw(requests(3))) == first).all()


def test_an_image_follows_from_its_seed_and_its_caption(configure):
    renderer = opened(configure(guidance=7.0))
    one, other_seed, other_caption, largest = pixels(
        renderer.draw([Request("x", 1), Request("x", 2), Request("why not zebras", 1), Request("x", 2**63 - 1)])
    )
    assert (one != other_seed).mean() > 0.5
    assert (one != other_caption).any()
    assert (largest != one).mean() > 0.5


def test_company_changes_an_image_by_rounding_at_most(configure):
    renderer = opened(configure())
    together = pixels(renderer.draw(requests(8))).astype(int)
    for size in (1, 3, 5):
        parts = [requests(8)[start : start + size] for start in range(0, 8, size)]
        apart = np.concatenate([pixels(renderer.draw(part)) for part in parts]).astype(int)
        assert abs(together - apart).max() <= 1
        assert (together != apart).mean() < 0.01


def test_out_of_memory_halves_what_is_drawn_at_once_and_goes_on(configure, capsys):
    renderer = opened(configure())
    batch = requests(8)
    expected = np.concatenate([pixels(renderer.draw(batch[:4])), pixels(renderer.draw(batch[4:]))])
    renderer.pipeline = small = _Watched(renderer.pipeline, most=5)
    assert (pixels(renderer.draw(batch)) == expected).all()
    assert small.asked == [8, 4, 4]
    assert (pixels(renderer.draw(batch)) == expected).all()
    assert small.asked == [8, 4, 4, 4, 4]
    told = capsys.readouterr().err
    assert "render: 8 images do not fit" in told and "render.diffusion.device_batch_items=4" in told


def test_three_and_five_of_a_batch_are_those_of_a_whole_one_up_to_rounding(configure):
    renderer = opened(configure())
    whole = pixels(renderer.draw(requests(8))).astype(int)
    renderer.device_batch.items = 5
    renderer.pipeline = watched = _Watched(renderer.pipeline)
    assert abs(pixels(renderer.draw(requests(8))).astype(int) - whole).max() <= 1
    assert watched.asked == [5, 3]


def test_when_one_image_does_not_fit_the_message_says_what_to_change(configure):
    renderer = opened(configure())
    renderer.pipeline = _Watched(renderer.pipeline, most=0)
    with pytest.raises(UserError, match="one image of 64 pixels a side does not fit") as told:
        renderer.draw(requests(4))
    for word in ("render.dtype", "render.diffusion.native_size", "GPU with more memory", "2.00 GiB"):
        assert word in str(told.value)


def test_a_batch_is_never_cut_on_the_cpu_whose_images_are_promised_bit_for_bit(configure):
    renderer = opened(configure(device_batch_items=2))
    renderer.pipeline = watched = _Watched(renderer.pipeline)
    renderer.draw(requests(5))
    assert watched.asked == [5]


def test_the_empty_prompt_is_encoded_once_an_attempt(configure, monkeypatch):
    from diffusers import StableDiffusionPipeline

    encoded: list[list[str]] = []
    real = StableDiffusionPipeline.encode_prompt

    def noted(self: Any, prompt: Any = None, *more: Any, **options: Any) -> Any:
        if prompt is not None:
            encoded.append(prompt)
        return real(self, prompt, *more, **options)

    monkeypatch.setattr(StableDiffusionPipeline, "encode_prompt", noted)
    renderer = opened(configure())
    renderer.draw([Request("a", 1), Request("b", 2)])
    renderer.draw([Request("c", 3)])
    assert encoded == [[""], ["a", "b"], ["c"]]


@pytest.mark.parametrize(("guidance", "rows"), [(2.0, 6), (1.0, 3), (0.0, 3)])
def test_without_guidance_there_is_no_unconditional_pass(configure, guidance, rows):
    renderer = opened(configure(guidance=guidance))
    seen: list[int] = []
    renderer.pipeline.unet.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    renderer.draw(requests(3))
    assert seen == [rows] * 3


def test_captions_are_cleaned_as_the_released_code_does():
    assert clean_prompt('  a "red"\tfox\r\nin snow \n') == "a red fox  in snow"
    assert clean_prompt("a 'blue' fox") == "a 'blue' fox"


def test_what_is_cut_off_a_long_prompt_is_counted(configure):
    renderer = opened(configure())
    # Each letter is a token, and 77 of them include the begin and the end.
    captions = ["x" * 75, "x" * 76, "x" * 100, ""]
    pictures = renderer.draw([Request(caption, 1) for caption in captions])
    assert [picture.facts for picture in pictures] == [{"cut_tokens": cut} for cut in (0, 1, 25, 0)]
    assert (pixels(pictures)[1] == pixels(pictures)[2]).all()


def test_images_that_are_no_numbers_are_rejected_alone(configure):
    renderer = opened(configure())
    good = pixels(renderer.draw(requests(3)))

    def spoil(output: Any) -> Any:
        output.images[1, 2, 5, 7] = float("nan")
        return output

    renderer.pipeline = _Watched(renderer.pipeline, change=spoil)
    pictures = renderer.draw(requests(3))
    assert [picture.reject_reason for picture in pictures] == [None, "non_finite", None]
    assert pictures[1].pixels is None and pictures[1].may_retry and pictures[1].facts == {"cut_tokens": 0}
    assert (pixels(pictures) == good[[0, 2]]).all()


def test_flagged_images_are_rejected(configure):
    renderer = opened(configure())

    def flag(output: Any) -> Any:
        return SimpleNamespace(images=output.images, nsfw_content_detected=[False, True])

    renderer.pipeline = _Watched(renderer.pipeline, change=flag)
    assert [picture.reject_reason for picture in renderer.draw(requests(2))] == [None, "unsafe"]


def test_compiled_code_always_sees_a_whole_batch(configure):
    renderer = opened(configure(batch_items=4))
    expected = pixels(renderer.draw(requests(4)[:3]))
    renderer.recipe = dataclasses.replace(renderer.recipe, compile=True)
    renderer.pipeline = watched = _Watched(renderer.pipeline)
    pictures = renderer.draw(requests(3))
    assert watched.asked == [4] and len(pictures) == 3
    assert abs(pixels(pictures).astype(int) - expected).max() <= 1


def test_half_precision_draws(configure):
    full, half = (pixels(opened(configure(dtype=dtype)).draw(requests(2))) for dtype in ("float32", "bfloat16"))
    assert (full != half).any()
    # The noise is the same: only rounding differs.
    assert abs(full.astype(int) - half).mean() < 10


def test_the_scheduler_is_replaced_by_one_that_fits(configure):
    scheduler = opened(configure(scheduler="EulerDiscreteScheduler")).pipeline.scheduler
    assert type(scheduler).__name__ == "EulerDiscreteScheduler"
    assert scheduler.config.beta_start == 0.00085
    assert type(opened(configure(scheduler="own")).pipeline.scheduler).__name__ == "PNDMScheduler"
    with pytest.raises(UserError, match=r"FlowMatchEulerDiscreteScheduler: does not fit tiny.*DDIMScheduler"):
        opened(configure(scheduler="FlowMatchEulerDiscreteScheduler"))


def test_a_gpu_that_is_not_there_is_told(configure, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"render.device=cuda: torch .* sees no GPU here"):
        opened(configure(device="cuda"))


def test_a_size_that_the_latents_do_not_divide_is_told(configure, monkeypatch):
    from diffusers import StableDiffusionPipeline

    real = StableDiffusionPipeline.__init__

    @functools.wraps(real)  # its arguments are what tells diffusers which parts there are
    def coarse(self: Any, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        self.vae_scale_factor = 16

    monkeypatch.setattr(StableDiffusionPipeline, "__init__", coarse)
    with pytest.raises(UserError, match=r"native_size=72: tiny draws multiples of 16 pixels"):
        opened(configure(native_size=72))


def test_no_network_is_touched(configure, monkeypatch):
    def refuse(*given: object) -> None:
        raise AssertionError(f"connected to {given}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(opened(configure()).draw(requests(1))) == 1


def test_nothing_to_draw_is_nothing_drawn(configure):
    renderer = opened(configure())
    assert renderer.draw([]) == []
    renderer.close()
