"""How far a training is: from what its attempts tell their journals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from synthclip_hpc.monitor.parts import CurvePoint, Span, TrainingStatus
from synthclip_hpc.monitor.story import Story

POINTS = 400
"""The curve has so many points at most; twice as many are kept until it is thinned out."""

WINDOW_S = 300.0
"""The present pace is that of so many seconds."""


@dataclass
class _Life:
    """What one attempt told of the training."""

    began: float = math.inf
    """Time of its first step's word."""
    told: float = 0.0
    """Time of its last."""
    saved: float = 0.0
    """Time of its last checkpoint that stands."""


@dataclass
class TrainingBook:
    """Listens to the events of train/fit. Memory does not grow with the training's length."""

    points: dict[int, CurvePoint] = field(default_factory=dict)
    """By step; of a step told twice the later word."""
    newest: CurvePoint | None = None
    data_wait_s: float | None = None
    checkpoint: tuple[float, int] | None = None
    """When, and of which step."""
    checkpoints_failed: int = 0
    _lives: dict[str, _Life] = field(default_factory=dict)

    def took_steps(self, story: Story, event: Mapping[str, Any]) -> None:
        """Take in an event `training`."""
        at, step = float(event["time"]), int(event["step"])
        point = CurvePoint(
            at, step, float(event.get("epoch", 0)), _finite(event.get("loss")), _finite(event.get("samples_per_s"))
        )
        life = self._lives.setdefault(story.name, _Life())
        life.began, life.told = min(life.began, at), max(life.told, at)
        known = self.points.get(step)
        if known is None or known.time <= at:
            self.points[step] = point
        if self.newest is None or at >= self.newest.time:
            self.newest = point
            self.data_wait_s = _finite(event.get("data_wait_s"))
        if len(self.points) > 2 * POINTS:
            self.points = {one.step: one for one in _spread(sorted(self.points.values(), key=_step))}

    def saved(self, story: Story, event: Mapping[str, Any]) -> None:
        """Take in an event `checkpoint`."""
        at, step = float(event["time"]), int(event["step"])
        if event.get("error") is not None:
            self.checkpoints_failed += 1
            return
        life = self._lives.setdefault(story.name, _Life())
        life.saved = max(life.saved, at)
        if self.checkpoint is None or at >= self.checkpoint[0]:
            self.checkpoint = at, step

    def status(
        self, stories: Iterable[Story], running: set[str], epochs: int, steps_per_epoch: int | None, now: float
    ) -> TrainingStatus | None:
        """Return how far it is; None before the first word. `steps_per_epoch`: None while nobody knows."""
        newest = self.newest
        if newest is None:
            return None
        lives = [story for story in stories if story.role == "work" and story.started]
        lost_work_s, lost_waiting_s = self._lost(sorted(lives, key=lambda story: story.started), running)
        # What an attempt did after the checkpoint that the next one went on from is not part of this training.
        curve = [point for step, point in sorted(self.points.items()) if step <= newest.step]
        return TrainingStatus(
            step=newest.step,
            total_steps=None if steps_per_epoch is None else steps_per_epoch * epochs,
            epoch=newest.epoch if not steps_per_epoch else newest.step / steps_per_epoch,
            epochs=epochs,
            loss=newest.loss,
            samples_per_s=newest.samples_per_s,
            data_wait_s=self.data_wait_s,
            curve=tuple(_spread(curve)),
            checkpoint_step=self.checkpoint[1] if self.checkpoint is not None else None,
            checkpoint_age_s=max(0.0, now - self.checkpoint[0]) if self.checkpoint is not None else None,
            checkpoints_failed=self.checkpoints_failed,
            lost_work_s=lost_work_s,
            lost_waiting_s=lost_waiting_s,
            told_age_s=max(0.0, now - newest.time),
            eta=None if steps_per_epoch is None else _eta(curve, steps_per_epoch * epochs - newest.step),
        )

    def _lost(self, lives: list[Story], running: set[str]) -> tuple[float, float]:
        """Return seconds of work that is done again, and of waiting, both after attempts that were interrupted."""
        work_s = waiting_s = 0.0
        for position, story in enumerate(lives):
            if story.name in running or story.end_reason == "completed":
                continue
            life, ended = self._lives.get(story.name, _Life()), story.ended or story.heard
            if life.told:
                work_s += max(0.0, life.told - max(life.saved, min(life.began, life.told)))
            if position + 1 < len(lives):
                after = lives[position + 1]
                first_step = self._lives.get(after.name, _Life()).began
                waiting_s += max(0.0, (first_step if math.isfinite(first_step) else after.started) - ended)
        return work_s, waiting_s


def _eta(curve: list[CurvePoint], left: int) -> Span | None:
    """Return the seconds that `left` more steps take, by the steps of the last minutes and by all of them."""
    newest = curve[-1]
    recent = min((point for point in curve if point.time > newest.time - WINDOW_S), key=_step)
    paces = [
        (newest.step - point.step) / (newest.time - point.time)
        for point in (recent, curve[0])
        if _is_before(point, newest)
    ]
    return Span(left / max(paces), left / min(paces)) if paces and left >= 0 else None


def _is_before(point: CurvePoint, other: CurvePoint) -> bool:
    return point.step < other.step and point.time < other.time


def _finite(value: Any) -> float | None:
    """Return a number; None for none, and for one that is not finite, which journals keep as text."""
    number = float(value) if isinstance(value, (int, float)) else math.nan
    return number if math.isfinite(number) else None


def _step(point: CurvePoint) -> int:
    return point.step


def _spread(points: list[CurvePoint]) -> list[CurvePoint]:
    """Return POINTS of the points at most, evenly over the steps, with the first and the last."""
    if len(points) <= POINTS:
        return points
    first, last = points[0].step, points[-1].step
    kept: list[CurvePoint] = []
    slot = -1
    for point in points[:-1]:
        mine = (point.step - first) * (POINTS - 1) // max(1, last - first)
        if mine > slot:
            slot = mine
            kept.append(point)
    return [*kept[: POINTS - 1], points[-1]]
