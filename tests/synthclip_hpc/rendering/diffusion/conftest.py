"""Tiny pipelines with random weights, written once a session, and how they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synthclip_hpc.config.render import DiffusionConfig, RenderConfig
from tests.engines import tiny_stable_diffusion

Configure = Callable[..., RenderConfig]


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """Looking for a model takes this process offline and sets threads; other tests are not to depend on it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a tiny Stable Diffusion, SDXL and LCM."""
    pytest.importorskip("diffusers", reason="diffusers is not installed")
    folder = tmp_path_factory.mktemp("pipelines")
    return {
        "tiny": tiny_stable_diffusion.build(folder / "tiny"),
        "xl": tiny_stable_diffusion.build_xl(folder / "xl"),
        "lcm": tiny_stable_diffusion.build_lcm(folder / "lcm"),
    }


@pytest.fixture
def configure(pipelines: dict[str, Path]) -> Configure:
    """Make a configuration for one of the tiny pipelines: on the CPU, 64 pixels, few steps."""

    def make(which: str = "tiny", preset: str | None = "sd15", steps: int = 3, **more: Any) -> RenderConfig:
        own = {name: more.pop(name) for name in list(more) if name in DiffusionConfig.__dataclass_fields__}
        own = {"model": str(pipelines[which]), "steps": steps, "native_size": 64, **own}
        return RenderConfig(
            renderer="diffusion", preset=preset, **{"device": "cpu", **more}, diffusion=DiffusionConfig(**own)
        )

    return make
