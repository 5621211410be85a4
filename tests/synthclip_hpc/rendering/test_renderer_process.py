"""Renderers in processes of their own: what they draw, what they see, and how they end.

The functions `open_…` are renderers for those processes, which import them by name.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthclip_hpc.config import RenderConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.processes import identify, is_alive
from synthclip_hpc.rendering.registry import open_renderer
from synthclip_hpc.rendering.renderer import Picture, Request
from synthclip_hpc.rendering.renderer_process import RendererDied, RendererProcess, renderers_side_by_side

CONFIG = RenderConfig(renderer="tests.own:renderer", device="cpu", renderers=2)


class Telling:
    """Does what a caption asks, and tells of itself in facts."""

    def __init__(self, gpus: str | None) -> None:
        torch = "torch" in sys.modules
        self.facts: Mapping[str, Any] = {"renderer": "telling", "gpus": gpus, "torch": torch, "pid": os.getpid()}

    def draw(self, batch: Sequence[Request]) -> list[Picture]:
        return [self._draw_one(request.caption, request.seed) for request in batch]

    def _draw_one(self, caption: str, seed: int) -> Picture:
        if caption == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if caption == "fault":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if caption == "mistake":
            raise UserError("render.device=cuda: one image does not fit")
        if caption == "reject":
            return Picture(reject_reason="unsafe", may_retry=False)
        pixels = np.random.default_rng(seed).integers(0, 256, (700, 500, 3)).astype(np.uint8)
        return Picture(pixels[:, ::2], facts={"drawn": [caption]})

    def close(self) -> None:
        """Nothing is held."""


def open_telling(*_: object) -> Telling:
    return Telling(os.environ.get("CUDA_VISIBLE_DEVICES"))


def open_refused(*_: object) -> Telling:
    raise UserError("render.device=cuda: no GPU here")


def asked(*captions: str) -> list[Request]:
    return [Request(caption, 2**62 + place) for place, caption in enumerate(captions)]


@pytest.fixture
def renderer() -> Iterator[RendererProcess]:
    renderer = RendererProcess(open_telling, CONFIG, "smart", None, 0)
    renderer.wait_until_open()
    yield renderer
    renderer.kill()


def test_pictures_of_millions_of_bytes_arrive_as_they_were_drawn(renderer):
    batch = asked(*["draw"] * 10, "reject")
    drawn, expected = renderer.draw(batch), open_telling().draw(batch)
    for one, other in zip(drawn, expected, strict=True):
        assert replace(one, pixels=None) == replace(other, pixels=None)
        assert (one.pixels is None) == (other.pixels is None)
        if one.pixels is not None and other.pixels is not None:
            assert (one.pixels.dtype, one.pixels.shape) == (np.dtype(np.uint8), (700, 250, 3))
            assert (one.pixels == other.pixels).all()
    assert drawn[-1].reject_reason == "unsafe"


def test_each_renderer_has_a_gpu_of_its_own_before_torch_is_there(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with renderers_side_by_side(open_telling, replace(CONFIG, device="cuda"), "smart", None) as renderers:
        facts = [dict(one.facts) for one in renderers]
        pids = [one.pid for one in renderers]
    assert facts == [
        {"renderer": "telling", "gpus": gpu, "torch": False, "pid": pid}
        for gpu, pid in zip(("4", "5"), pids, strict=True)
    ]
    assert len({*pids, os.getpid()}) == 3
    assert [is_alive(identify(pid or 0)) for pid in pids] == [False, False]


def test_glyphs_take_no_gpus_and_a_worker_with_too_few_is_told(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    cuda = replace(CONFIG, device="cuda")
    with pytest.raises(UserError, match=r"render\.renderers=2: they take 2 GPUs, and the worker has 1 .*=4\)"):
        RendererProcess(open_telling, cuda, "smart", None, 0)
    glyphs = RendererProcess(open_telling, replace(cuda, renderer="glyphs"), "smart", None, 1)
    try:
        assert glyphs.wait_until_open()["gpus"] == "4"
    finally:
        glyphs.kill()


def test_a_killed_renderer_is_told_with_its_signal_and_opened_anew_at_the_next_batch(renderer):
    pid = renderer.pid
    with pytest.raises(RendererDied, match=rf"render\.renderer: .* renderer 1 of 2 \(pid {pid}\) was ended by SIGKILL"):
        renderer.draw(asked("draw", "die"))
    assert len(renderer.draw(asked("draw"))) == 1
    assert renderer.facts["pid"] == renderer.pid != pid


def test_a_fault_comes_with_its_traceback_and_ends_the_process_and_a_users_mistake_does_not(renderer):
    pid = renderer.pid
    with pytest.raises(UserError, match="one image does not fit"):
        renderer.draw(asked("mistake"))
    assert renderer.pid == pid
    with pytest.raises(RuntimeError, match="an illegal memory access") as caught:
        renderer.draw(asked("fault"))
    assert "in _draw_one" in caught.value.__notes__[0]
    assert not is_alive(identify(pid or 0))
    renderer.draw(asked("draw"))
    assert renderer.pid != pid


def test_what_opening_raises_arrives():
    with (
        pytest.raises(UserError, match="no GPU here"),
        renderers_side_by_side(open_refused, CONFIG, "smart", None),
    ):
        raise AssertionError("opened")
    unknown = replace(CONFIG, renderer="no_such_module:open")
    with (
        pytest.raises(UserError, match="no_such_module:open"),
        renderers_side_by_side(open_renderer, unknown, "smart", None),
    ):
        raise AssertionError("opened")
