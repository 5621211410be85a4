"""How long the training is, in steps: a pure function of the settings and the number of samples."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.training.recipe import learning_rate


@dataclass(frozen=True)
class Schedule:
    """Steps of the whole training, and the learning rate of each."""

    train: TrainConfig
    steps_per_epoch: int
    evaluated: Set[int] = frozenset()
    """Epochs whose models are evaluated later."""

    @property
    def total_steps(self) -> int:
        return self.train.epochs * self.steps_per_epoch

    @property
    def warmup_steps(self) -> int:
        return round(self.train.warmup_epochs * self.steps_per_epoch)

    def lr(self, step: int) -> float:
        """Return the learning rate of a step, from 0 on."""
        train = self.train
        return learning_rate(
            step,
            total_steps=self.total_steps,
            warmup_steps=self.warmup_steps,
            peak=train.lr,
            first=train.warmup_lr,
            last=train.final_lr,
        )

    def ends_epoch(self, done: int) -> bool:
        """Tell whether an epoch is over after so many steps."""
        return done % self.steps_per_epoch == 0

    def is_marked(self, done: int) -> bool:
        """Tell whether the checkpoint after so many steps is to be kept for good.

        The last is, that of every few epochs, and those of epochs whose models are evaluated.
        """
        if done == self.total_steps:
            return True
        epoch, rest = divmod(done, self.steps_per_epoch)
        every = self.train.mark_epochs
        return not rest and (epoch in self.evaluated or (every > 0 and epoch % every == 0))
