"""The training loop: batch after batch, from one step to the last, or to a stop that all ranks agree upon.

Ranks are equal but for what rank 0 records: metrics and checkpoints, which need no other rank, as all have the same
weights. Where all must do the same, they ask the same question at the same step: whether any was told to stop, before
each step, and whether a loss was not finite, at each look.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sharding.files import canonical_json, replace_file
from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.checkpoints.saving import Saver
from synthclip_hpc.training.data.loader import Batch, Loader
from synthclip_hpc.training.metrics import MetricsWriter
from synthclip_hpc.training.ranks import Ranks
from synthclip_hpc.training.schedule import Schedule
from synthclip_hpc.training.speed import Speed
from synthclip_hpc.training.step import Scalars, Step

_NAMED = 20
"""Samples of a bad batch that the message names."""


@dataclass
class Records:
    """What rank 0 writes down."""

    saver: Saver
    metrics: MetricsWriter
    speed: Speed
    samples_of: Callable[[int, int | None], list[str]]
    """Names of the first samples of a step's batch; all without a number."""
    saved_step: int = -1
    saved_at: float = 0.0


class Loop:
    """One rank's training."""

    def __init__(
        self,
        train: TrainConfig,
        schedule: Schedule,
        ranks: Ranks,
        loader: Loader,
        take_step: Step,
        records: Records | None,
        tell_broken: Callable[[Batch], None],
    ) -> None:
        self.train, self.schedule, self.ranks, self.loader, self.take_step = train, schedule, ranks, loader, take_step
        self.records, self.tell_broken = records, tell_broken
        # Without a device of its own there is nothing to wait for.
        self._look_steps = train.log_steps if ranks.device.type == "cuda" else 1
        self._untold: list[tuple[int, Scalars]] = []

    def run(self, step: int) -> int:
        """Train from step `step` (as many are done) on; return how many are done at the end.

        Raises UserError for a loss that is not finite: nothing has changed since the step before.
        """
        if self.records is not None:
            self.records.saved_step, self.records.saved_at = step, time.monotonic()
            self.records.speed.start()
        while step < self.schedule.total_steps:
            began = time.monotonic()
            batch = self.loader.next_batch(self.ranks.told_to_stop)
            waited_s = time.monotonic() - began
            if self.ranks.stop_agreed():
                break
            if batch is None:
                raise RuntimeError(f"the loader ended before step {step}")
            scalars = self.take_step(step, batch.images, batch.tokens)
            step += 1
            self._untold.append((step, scalars))
            if batch.broken:
                self.tell_broken(batch)
            if self.records is not None:
                self.records.speed.stepped(waited_s)
            if step % self._look_steps == 0 or self.schedule.ends_epoch(step):
                self._look()
            if self.records is not None and self._is_due(step):
                self._look()
                self._save(step)
        self._look()
        if self.records is not None:
            if step > self.records.saved_step or self.schedule.is_marked(step):
                self._save(step)
            self.records.saver.wait()
        return step

    def _look(self) -> None:
        """Fetch what the steps since the last look told; stop at the first that was bad."""
        untold, self._untold = self._untold, []
        if not untold:
            return
        fetched = torch.stack([torch.stack([one.float() for one in told]) for _, told in untold]).tolist()
        rows: list[dict[str, Any]] = []
        for (done, _), (loss, scale, norm, bad) in zip(untold, fetched, strict=True):
            if bad:
                self._tell(rows)
                self._refuse(done - 1, loss)
            rows.append(self._row(done, loss, scale, norm))
        self._tell(rows)
        if self.records is not None:
            self.records.speed.tell(self.records.metrics, untold[-1][0])

    def _row(self, done: int, loss: float, scale: float, norm: float) -> dict[str, Any]:
        return {
            "step": done,
            "epoch": (done - 1) // self.schedule.steps_per_epoch,
            "samples": done * self.train.batch_size,
            "loss": loss,
            "lr": self.schedule.lr(done - 1),
            "logit_scale": scale,
            "grad_norm": norm,
        }

    def _tell(self, rows: list[dict[str, Any]]) -> None:
        if self.records is not None:
            self.records.metrics.steps(rows)

    def _is_due(self, step: int) -> bool:
        """Tell whether it is time for a checkpoint: by steps, by minutes, or because an epoch's is to be kept."""
        assert self.records is not None
        if step == self.schedule.total_steps:
            return False  # saved behind the loop
        if self.train.checkpoint_steps and step % self.train.checkpoint_steps == 0:
            return True
        if self.train.checkpoint_min and time.monotonic() - self.records.saved_at >= 60 * self.train.checkpoint_min:
            return True
        if not self.schedule.ends_epoch(step):
            return False
        return self.schedule.is_marked(step) or not (self.train.checkpoint_min or self.train.checkpoint_steps)

    def _save(self, step: int) -> None:
        assert self.records is not None
        # The steps before a checkpoint are never done again, so what they told must not be lost.
        self.records.metrics.sync()
        self.records.saver.save(
            self.take_step.state(),
            step=step,
            epoch=step / self.schedule.steps_per_epoch,
            samples=step * self.train.batch_size,
            marked=self.schedule.is_marked(step),
        )
        self.records.saved_step, self.records.saved_at = step, time.monotonic()

    def _refuse(self, step: int, loss: float) -> None:
        """Save the state before a bad step, name its samples, and end."""
        names = ""
        if self.records is not None:
            if step > self.records.saved_step:
                self._save(step)
            self.records.saver.wait()
            path = self.records.saver.folder.parent / f"bad-step-{step + 1}.json"
            replace_file(path, canonical_json(self.records.samples_of(step, None)))
            named = ", ".join(self.records.samples_of(step, _NAMED))
            names = f" Its samples are listed in {path}; the first: {named}."
        what = "the gradients are not finite" if math.isfinite(loss) else f"the loss is {loss}"
        raise UserError(
            f"step {step + 1}: {what}; the state before it was saved as the checkpoint of step {step}.{names} Look at "
            "these samples, or start a new run with a lower train.lr, train.precision=bfloat16, or train.grad_clip=1"
        )
