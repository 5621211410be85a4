"""A renderer of a user's own, named by `render.renderer=module:function`: what it does is written beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthclip_hpc.rendering.renderer import Picture, Request

asked: list[Request] = []
opened: list[str] = []
rejects: dict[str, tuple[str, int]] = {}
"""Word of a caption -> the reason that its pictures are rejected for, and how many of them are."""
dies_after: list[int] = []
"""Requests after which the renderer raises, once."""
_tries: Counter[str] = Counter()


class ScriptedRenderer:
    """Draws coloured noise from the seed."""

    facts: Mapping[str, Any] = {"renderer": "scripted", "model": "noise", "revision": "", "steps": 0, "guidance": 0.0}

    def __init__(self, size: int) -> None:
        self.size = size

    def draw(self, batch: Sequence[Request]) -> list[Picture]:
        if dies_after and len(asked) >= dies_after[0]:
            dies_after.clear()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        asked.extend(batch)
        return [self._draw_one(request) for request in batch]

    def _draw_one(self, request: Request) -> Picture:
        for word, (reason, times) in rejects.items():
            if word in request.caption:
                _tries[request.caption] += 1
                if _tries[request.caption] <= times:
                    return Picture(reject_reason=reason)
        return Picture(noise(request, self.size))

    def close(self) -> None:
        opened.append("closed")


def noise(request: Request, size: int) -> np.ndarray:
    """What a request looks like."""
    return np.random.default_rng(request.seed).integers(0, 256, (size, size, 3)).astype(np.uint8)


def open_scripted(render: Any) -> ScriptedRenderer:
    """What `render.renderer` names."""
    opened.append("opened")
    return ScriptedRenderer(render.size)


def reset() -> None:
    for kept in (asked, opened, rejects, dies_after, _tries):
        kept.clear()
