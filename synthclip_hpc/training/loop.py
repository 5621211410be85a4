"""The training loop: batch after batch, from one step to the last, or to a stop that all ranks agree upon.

Ranks are equal but for what rank 0 writes down, which needs no other rank. Where all must do the same they ask the same
question at the same step: whether any was told to stop, before each step, and whether a step was bad, at each look.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.data.loader import Batch, Loader
from synthclip_hpc.training.ranks import Ranks
from synthclip_hpc.training.records import Records
from synthclip_hpc.training.schedule import Schedule
from synthclip_hpc.training.step import Scalars, Step


class Loop:
    """One rank's training. `records` is rank 0's."""

    def __init__(
        self,
        train: TrainConfig,
        schedule: Schedule,
        ranks: Ranks,
        loader: Loader,
        take_step: Step,
        tell_broken: Callable[[Batch], None],
        records: Records | None,
    ) -> None:
        self._train, self._schedule, self._ranks, self._loader = train, schedule, ranks, loader
        self._take_step, self._tell_broken, self._records = take_step, tell_broken, records
        # Without a device of its own there is nothing to wait for.
        self._look_steps = train.log_steps if ranks.device.type == "cuda" else 1
        self._untold: list[tuple[int, Scalars]] = []

    def run(self, step: int) -> int:
        """Train from step `step` on, as many are done; return how many are done at the end.

        Raises UserError for a step whose loss or gradients are not finite: nothing has changed since the one before.
        """
        while step < self._schedule.total_steps:
            began = time.monotonic()
            batch = self._loader.next_batch(self._ranks.told_to_stop)
            waited_s = time.monotonic() - began
            if self._ranks.stop_agreed():
                break
            if batch is None:
                raise RuntimeError(f"the loader ended before step {step}")
            scalars = self._take_step(step, batch.images, batch.tokens)
            step += 1
            self._untold.append((step, scalars))
            if batch.broken:
                self._tell_broken(batch)
            if self._records is not None:
                self._records.stepped(waited_s)
            if step % self._look_steps == 0 or self._schedule.ends_epoch(step):
                self._look()
            if self._records is not None and self._records.is_due(step):
                self._save(step)
        self._look()
        if self._records is not None:
            self._records.end(step, self._take_step.state())
        return step

    def _save(self, step: int) -> None:
        assert self._records is not None
        if self._untold:
            # Other ranks do not look here: a bad step must be found by all, at the next common look.
            self._look(may_refuse=False)
        if not self._untold:
            self._records.save(step, self._take_step.state())

    def _look(self, *, may_refuse: bool = True) -> None:
        """Fetch what the steps since the last look told; end at the first that was bad."""
        if not self._untold:
            return
        told = torch.stack([torch.stack([one.float() for one in scalars]) for _, scalars in self._untold]).tolist()
        rows: list[dict[str, Any]] = []
        for (done, _), (loss, scale, norm, bad) in zip(self._untold, told, strict=True):
            if bad:
                if not may_refuse:
                    return
                self._tell(rows)
                raise self._refusal(done - 1, loss)
            rows.append(self._row(done, loss, scale, norm))
        self._untold = []
        self._tell(rows)

    def _row(self, done: int, loss: float, scale: float, norm: float) -> dict[str, Any]:
        return {
            "step": done,
            "epoch": (done - 1) // self._schedule.steps_per_epoch,
            "samples": done * self._train.batch_size,
            "loss": loss,
            "lr": self._schedule.lr(done - 1),
            "logit_scale": scale,
            "grad_norm": norm,
        }

    def _tell(self, rows: list[dict[str, Any]]) -> None:
        if self._records is not None:
            self._records.told(rows)

    def _refusal(self, step: int, loss: float) -> UserError:
        """Let rank 0 save the state before a bad step; return what to tell of it."""
        what = "the gradients are not finite" if math.isfinite(loss) else f"the loss is {loss}"
        found = None if self._records is None else self._records.bad(step, self._take_step.state())
        # All wait until rank 0 is through: the first rank that ends takes the others of its node with it.
        where = self._ranks.from_first(found)
        return UserError(
            f"step {step + 1}: {what}; {where}. Look at these samples, or start a new run with a lower train.lr, "
            "train.precision=bfloat16, or train.grad_clip=1"
        )
