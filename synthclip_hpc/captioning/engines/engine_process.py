"""A caption engine in a process of its own, on GPUs of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

from synthclip_hpc import device_process
from synthclip_hpc.captioning.engines.engine import Engine, Request
from synthclip_hpc.captioning.models.folder import ModelFiles
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.device_process import DeviceProcess, ProcessDied, side_by_side

Opener = Callable[[CaptionsConfig, ModelFiles | None], Engine]
"""What opens an engine: a function of a module, which the new process imports by its name."""


class EngineDied(ProcessDied):
    """An engine's process ended while it was needed."""


def gpus_per_engine(config: CaptionsConfig) -> int:
    """Return how many GPUs one engine takes; 0 for one that takes none."""
    if config.engine == "template" or config.device != "cuda":
        return 0
    return 1 if config.engine == "transformers" else config.vllm.tensor_parallel


def visible_gpus(config: CaptionsConfig, number: int, given: str | None) -> str | None:
    """Return CUDA_VISIBLE_DEVICES for engine `number` (from 0) of a worker that has `given`; None to leave it alone.

    Raises UserError when the worker was given fewer GPUs than its engines take.
    """
    return device_process.visible_gpus("captions.engines", config.engines, gpus_per_engine(config), number, given)


class EngineProcess(DeviceProcess):
    """Engine `number` (from 0) of a worker, in a process of its own. Used by one thread at a time."""

    died = EngineDied

    def __init__(self, opener: Opener, config: CaptionsConfig, model: ModelFiles | None, number: int) -> None:
        """Start the process; `wait_until_open` tells what became of it."""
        super().__init__(
            opener,
            (config, model),
            key="captions.engine",
            name=f"engine {number + 1} of {config.engines}",
            visible=visible_gpus(config, number, os.environ.get("CUDA_VISIBLE_DEVICES")),
        )

    def generate(self, batch: Sequence[Request]) -> list[str]:
        """Answer every request, in order; an engine that was lost is opened again first.

        Raises what the engine raised, with its traceback in a note, and EngineDied when its process ended.
        """
        answers: list[str] = self.call("generate", list(batch))
        return answers


@contextlib.contextmanager
def engines_side_by_side(
    opener: Opener, config: CaptionsConfig, model: ModelFiles | None
) -> Iterator[list[EngineProcess]]:
    """Open `captions.engines` engines at once, each in a process of its own; all are closed at the end.

    Raises what opening one of them raises.
    """
    with side_by_side(lambda number: EngineProcess(opener, config, model, number), config.engines) as engines:
        yield engines
