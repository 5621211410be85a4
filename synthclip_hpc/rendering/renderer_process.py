"""A renderer in a process of its own, on a GPU of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synthclip_hpc.config.render import RenderConfig
from synthclip_hpc.device_process import DeviceProcess, ProcessDied, side_by_side, visible_gpus
from synthclip_hpc.rendering.registry import gpus_of
from synthclip_hpc.rendering.renderer import Picture, Renderer, Request

if TYPE_CHECKING:
    from synthclip_hpc.rendering.diffusion.folder import PipelineFiles

Opener = Callable[[RenderConfig, str, "PipelineFiles | None"], Renderer]
"""What opens a renderer, as `registry.open_renderer` does: a function of a module, which the new process imports."""


class RendererDied(ProcessDied):
    """A renderer's process ended while it was needed."""


class RendererProcess(DeviceProcess):
    """Renderer `number` (from 0) of a worker, in a process of its own. Used by one thread at a time."""

    died = RendererDied
    facts: Mapping[str, Any]
    """The renderer's own; there once it is open."""

    def __init__(
        self, opener: Opener, render: RenderConfig, case: str, pipeline: PipelineFiles | None, number: int
    ) -> None:
        """Start the process; `wait_until_open` tells what became of it."""
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        super().__init__(
            opener,
            (render, case, pipeline),
            key="render.renderer",
            name=f"renderer {number + 1} of {render.renderers}",
            visible=visible_gpus("render.renderers", render.renderers, gpus_of(render), number, given),
        )

    def wait_until_open(self) -> Mapping[str, Any]:
        """Wait until the renderer can draw; return its facts.

        Raises what opening it raised; RendererDied when its process ended.
        """
        self.facts = super().wait_until_open()
        return self.facts

    def draw(self, batch: Sequence[Request]) -> list[Picture]:
        """Return one picture a request, in order; a renderer that was lost is opened again first.

        Raises what the renderer raised, with its traceback in a note, and RendererDied when its process ended.
        """
        pictures: list[Picture] = self.call("draw", list(batch))
        return pictures


@contextlib.contextmanager
def renderers_side_by_side(
    opener: Opener, render: RenderConfig, case: str, pipeline: PipelineFiles | None
) -> Iterator[list[RendererProcess]]:
    """Open `render.renderers` renderers at once, each in a process of its own; all are closed at the end.

    Raises what opening one of them raises.
    """
    with side_by_side(
        lambda number: RendererProcess(opener, render, case, pipeline, number), render.renderers
    ) as renderers:
        yield renderers
