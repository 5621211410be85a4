"""A training of one rank in this process: a tiny model, batches made of numbers, and all that rank 0 writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.training.checkpoints.loading import load_state, open_checkpoint
from synthclip_hpc.training.checkpoints.saving import Saver
from synthclip_hpc.training.data.loader import Batch
from synthclip_hpc.training.data.samples import Broken
from synthclip_hpc.training.loop import Loop
from synthclip_hpc.training.metrics import MetricsWriter, read_metrics
from synthclip_hpc.training.model import build_model
from synthclip_hpc.training.model_config import find_model_config
from synthclip_hpc.training.ranks import Ranks
from synthclip_hpc.training.records import Records
from synthclip_hpc.training.schedule import Schedule
from synthclip_hpc.training.sinks import open_sinks
from synthclip_hpc.training.speed import Speed
from synthclip_hpc.training.step import Step

# As the ranks of a job do: on a busy machine threads that wait for one another take many times as long.
torch.set_num_threads(1)

MODEL = find_model_config("resnet-tiny")
CONFIG = TrainConfig(
    model="resnet-tiny", device="cpu", epochs=2, batch_size=8, lr=1e-3, warmup_epochs=0.5, checkpoint_min=0
)
STEPS_AN_EPOCH = 4
STEPS = 2 * STEPS_AN_EPOCH
SEED = 11
HASHES = {"plan_hash": "plan", "inputs_hash": "inputs"}


class Ear:
    """Hears the word before a step."""

    def __init__(self, before: int | None = None) -> None:
        self.before, self.asked = before, 0

    def heard(self) -> bool:
        return self.before is not None and self.asked >= self.before


class FakeLoader:
    """The batches of all steps from one on, each a function of its number."""

    def __init__(self, first: int, rows: int, ear: Ear, broken: dict[int, list[Broken]]) -> None:
        self.step, self._rows, self._ear, self._broken = first, rows, ear, broken

    def next_batch(self, poll: Callable[[], bool] = lambda: False) -> Batch | None:
        self._ear.asked = self.step
        if poll() or self.step >= STEPS:
            return None
        batch = Batch(self.step, *batch_of(self.step, self._rows), self._broken.get(self.step, []))
        self.step += 1
        return batch


def batch_of(step: int, rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (rows, 3, MODEL.image_size, MODEL.image_size), generator=generator)
    tokens = torch.randint(1, 400, (rows, MODEL.context_length), generator=generator)
    tokens[:, -1] = 49407
    return images.to(torch.uint8), tokens


class Training:
    """What `train` puts together, from parts that a test can look at."""

    def __init__(self, folder: Path, *, first: int = 0, ear: Ear | None = None, bad: int | None = None, **changes: Any):
        """`bad`: at this step the features are not finite."""
        self.config = replace(CONFIG, **changes)
        self.folder = folder
        self.first, self.ear = first, ear or Ear()
        self.ranks = Ranks("cpu", 30, self.ear)  # type: ignore[arg-type]
        self.schedule = Schedule(self.config, STEPS_AN_EPOCH)
        self.model = build_model(
            MODEL, seed=SEED, device="cpu", init=None, checkpoint_activations=self.config.checkpoint_activations
        )
        if self.config.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.step = Step(self.config, SEED, self.model, self.model, self.schedule, self.ranks)
        self.broken: dict[int, list[Broken]] = {}
        self.told_broken: list[Batch] = []
        self.forwards = 0
        if bad is not None:
            self._spoil(bad)
        self.saver = Saver(
            folder / "checkpoints",
            **HASHES,
            attempt="1-0",
            keep=2,
            world_size=1,
            warn_after_s=None,
            tell=lambda text: None,
        )
        self.metrics_file = folder / f"metrics/1-{first}.jsonl"

    def _spoil(self, bad: int) -> None:
        def spoil(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            self.forwards += 1
            return output * torch.nan if self.first + self.forwards == bad + 1 else output

        self.model.visual.register_forward_hook(spoil)  # type: ignore[union-attr]

    def run(self, look_steps: int = 1) -> int:
        """Train; `look_steps` as on a GPU. Returns the steps done."""
        sinks = open_sinks(tensorboard=False, wandb=None, folder=self.folder, run_id="r", first_step=1, config={})
        loader = FakeLoader(self.first, self.config.batch_size, self.ear, self.broken)
        records = Records(
            self.config,
            self.schedule,
            self.saver,
            MetricsWriter(self.metrics_file),
            sinks,
            Speed(self.config, MODEL, self.model, self.ranks),
            lambda step: [f"sample-{step}-{number}" for number in range(self.config.batch_size)],
            self.first,
        )
        with closing(records):
            loop = Loop(
                self.config, self.schedule, self.ranks, loader, self.step, self.told_broken.append, records  # type: ignore[arg-type]
            )  # fmt: skip
            loop._look_steps = look_steps
            return loop.run(self.first)

    def resume(self, step: int) -> Training:
        """Be the next round: another process, as far as the state goes."""
        self.first = step
        self.step.load_state(self.saved(step))
        return self

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in read_metrics(self.metrics_file) if "kind" not in row]

    def saved(self, step: int) -> dict[str, Any]:
        return load_state(open_checkpoint(self.folder / "checkpoints", step, **HASHES))

    def checkpoints(self) -> list[int]:
        return sorted(int(path.name.removeprefix("step-")) for path in (self.folder / "checkpoints").glob("step-*"))


def tensors(state: Any, place: str = "") -> dict[str, Tensor]:
    """All tensors of a state, copied, by where they are in it."""
    if isinstance(state, Tensor):
        return {place: state.detach().clone()}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    found: dict[str, Tensor] = {}
    for key, value in items:
        found |= tensors(value, f"{place}/{key}")
    return found


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Tell whether two sets of tensors are equal, to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
