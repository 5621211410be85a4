"""What rank 0 writes down of a training: metrics, speed, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json
from sharding.files import replace_file
from synthclip_hpc.config.train import TrainConfig
from synthclip_hpc.training.checkpoints.saving import Saver
from synthclip_hpc.training.metrics import MetricsWriter
from synthclip_hpc.training.schedule import Schedule
from synthclip_hpc.training.sinks import Sinks
from synthclip_hpc.training.speed import Speed

_NAMED = 20
"""Samples of a bad batch that a message names."""

_SAY_EVERY_S = 10.0


class Records:
    """Writes for all ranks, as all have the same weights. Nothing here makes a training fail but a bug."""

    def __init__(
        self,
        train: TrainConfig,
        schedule: Schedule,
        saver: Saver,
        metrics: MetricsWriter,
        sinks: Sinks,
        speed: Speed,
        samples_of: Callable[[int], Sequence[str]],
        first_step: int,
    ) -> None:
        """`samples_of`: the names of the samples of a step's batch, each found when it is asked for."""
        self._train, self._schedule, self._samples_of = train, schedule, samples_of
        self._saver, self._metrics, self._sinks, self._speed = saver, metrics, sinks, speed
        self._saved_step, self._saved_at = first_step, time.monotonic()
        self._said_at = -_SAY_EVERY_S

    def stepped(self, waited_s: float) -> None:
        """Count a step, which waited so long for its data."""
        self._speed.stepped(waited_s)

    def told(self, rows: list[dict[str, Any]]) -> None:
        """Write down what steps told, and how fast they were."""
        self._metrics.steps(rows)
        timing = self._speed.timing(rows[-1]["step"]) if rows else None
        if timing is not None:
            self._metrics.timing(**timing)
            self._say(rows[-1], timing)
            rows = [*rows, timing]
        for row in rows:
            self._sinks.log(row)
        for outcome in self._saver.outcomes():
            self._metrics.event("checkpoint", asdict(outcome))

    def _say(self, row: Mapping[str, Any], timing: Mapping[str, Any]) -> None:
        """Print a line for the job's log, now and then."""
        if time.monotonic() - self._said_at >= _SAY_EVERY_S:
            self._said_at = time.monotonic()
            epochs = row["step"] / self._schedule.steps_per_epoch
            print(
                f"step {row['step']:,} of {self._schedule.total_steps:,}, epoch {epochs:.2f}: "
                f"loss {row['loss']:.4f}, lr {row['lr']:.2e}, {timing['samples_per_s']:,.0f} samples/s, "
                f"data wait {timing['data_wait_s']:.3f} s",
                flush=True,
            )

    def is_due(self, step: int) -> bool:
        """Tell whether it is time for a checkpoint: by steps, by minutes, or because an epoch's is to be kept."""
        train = self._train
        if step == self._schedule.total_steps:
            return False  # `end` saves that one
        if train.checkpoint_steps and step % train.checkpoint_steps == 0:
            return True
        if train.checkpoint_min and time.monotonic() - self._saved_at >= 60 * train.checkpoint_min:
            return True
        if not self._schedule.ends_epoch(step):
            return False
        return self._schedule.is_marked(step) or not (train.checkpoint_min or train.checkpoint_steps)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Begin to save the state after so many steps; what `told` got has to be complete up to there."""
        # The steps before a checkpoint are never done again, so what they told must not be lost.
        self._metrics.sync()
        self._saver.save(
            state,
            step=step,
            epoch=step / self._schedule.steps_per_epoch,
            samples=step * self._train.batch_size,
            marked=self._schedule.is_marked(step),
        )
        self._saved_step, self._saved_at = step, time.monotonic()

    def end(self, step: int, state: Mapping[str, Any]) -> None:
        """Save the last state, unless it is saved already, and wait for it."""
        if step != self._saved_step:
            self.save(step, state)
        self._saver.wait()
        self.told([])

    def bad(self, step: int, state: Mapping[str, Any]) -> str:
        """Save the state before a bad step and list the samples of its batch; return what to say of both."""
        self.end(step, state)
        if step == 0:
            what = "no step was done before it"
        elif self._saver.last_step == step or not self._saver.failures:
            what = f"the checkpoint of step {step} is the state before it"
        else:
            what = "the state before it was NOT SAVED"
        samples = self._samples_of(step)
        path: Path = self._saver.folder.parent / f"bad-step-{step + 1}.json"
        try:
            replace_file(path, canonical_json(list(samples)))
            listed = f"its samples are listed in {path}, the first are"
        except OSError as error:
            listed = f"its samples could not be listed in {path} ({error.strerror}), the first are"
        return f"{what}; {listed} {', '.join(samples[:_NAMED])}"

    def close(self) -> None:
        """Wait for what is being saved, and close all files and connections."""
        try:
            # Whatever ended the training: a checkpoint that is under way is where the next round goes on.
            self._saver.wait()
        finally:
            self._metrics.close()
            self._sinks.close()
