"""The parts of a snapshot in words, a line each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from synthclip_hpc.monitor.failures import FailureGroup
from synthclip_hpc.monitor.parts import EvaluationStatus, Span, Straggler, TrainingStatus, Wait
from synthclip_hpc.monitor.snapshot import Snapshot, StageStatus

_CAUSES = (
    "preemptions",
    "timeouts",
    "node_failures",
    "unfit_nodes",
    "failures",
    "requeues",
    "cancellations",
    "unknown",
)
_CELLS_SHOWN = 20
_GROUPS_SHOWN = 5
_MESSAGE_SHOWN = 100
"""So many characters of a group's message."""
_WORTH_TELLING_H = 1.0


def duration(seconds: float | None) -> str:
    """Return a time span as people say it, in at most two units."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller:02d}{small_unit}"
    return f"{whole}s"


def span(seconds: Span | None) -> str:
    """Return a range of time; one time where both ends read alike."""
    if seconds is None:
        return "-"
    low, high = duration(seconds.low), duration(seconds.high)
    return low if low == high else f"{low} to {high}"


def notes_of(stage: StageStatus, snapshot: Snapshot) -> list[str]:
    """Return what there is to tell of a stage besides its line in the table."""
    lines = [*_ended(stage), *map(wait_in_words, stage.waits)]
    if stage.eta_full is not None and stage.concurrency_full > stage.running:
        lines.append(f"with all {stage.concurrency_full} at once: {span(stage.eta_full)}")
    lines += _hours(stage)
    stragglers = [one for phase in stage.phases for one in phase.stragglers]
    if stragglers:
        lines.append(f"{len(stragglers)} behind, worst {straggler_in_words(stragglers[0])}")
    groups = [one for one in snapshot.failures if one.phase.startswith(f"{stage.name}/")][:_GROUPS_SHOWN]
    for group in groups:
        kind, message = group.fingerprint.type, _in_a_line(group.sample.message)[:_MESSAGE_SHOWN]
        lines.append(f"failures, group {group.id}: {group.count} × {kind}: {message}")
    if stage.name == "train" and snapshot.training is not None:
        lines.append(training_in_words(snapshot.training))
    if stage.name == "eval" and snapshot.evaluation is not None:
        lines += evaluation_in_words(snapshot.evaluation)
    # Of an incomplete phase the second line names the first missing shard and why.
    if stage.message and not _is_told(stage, snapshot, groups):
        lines.append(" ".join(line.strip() for line in stage.message.splitlines()[:2]))
    return lines


def _is_told(stage: StageStatus, snapshot: Snapshot, groups: Sequence[FailureGroup]) -> bool:
    """Tell whether a wait, an alarm or a group of failures in full has said what the stage's message says."""
    message = _in_a_line(stage.message)
    alarms = [alarm.text for alarm in snapshot.alarms if alarm.where.partition("/")[0] == stage.name]
    errors = [_in_a_line(group.sample.message) for group in groups]
    return (
        any(wait.text in stage.message for wait in stage.waits)
        or any(message in _in_a_line(text) for text in alarms)
        or any(error in message for error in errors if error and len(error) <= _MESSAGE_SHOWN)
    )


def _in_a_line(text: str) -> str:
    return " ".join(text.split())


def _ended(stage: StageStatus) -> Iterator[str]:
    counts = {cause: getattr(stage, cause) for cause in _CAUSES}
    ended = [f"{count} {_in_number(cause.replace('_', ' '), count)}" for cause, count in counts.items() if count]
    if ended:
        yield "attempts ended early: " + ", ".join(ended)


def _in_number(plural: str, count: int) -> str:
    return plural if count != 1 or plural == "unknown" else plural.removesuffix("s")


def _hours(stage: StageStatus) -> Iterator[str]:
    hours = stage.hours
    if (
        hours is None
        or stage.state == "done"
        or max(hours.used, hours.expected.high if hours.expected else 0.0) < _WORTH_TELLING_H
    ):
        return
    expected = ""
    if hours.expected is not None:
        low, high = f"{hours.expected.low:,.1f}", f"{hours.expected.high:,.1f}"
        expected = f", {low if low == high else f'{low} to {high}'} expected in all ({hours.source})"
    yield f"{hours.device} hours: {hours.used:,.1f} used{expected}"


def wait_in_words(wait: Wait) -> str:
    """Return why jobs wait, and when the first is expected to start."""
    starts = (
        "" if wait.starts is None else f"; expected to start {time.strftime('%a %H:%M', time.localtime(wait.starts))}"
    )
    return f"{wait.jobs} {'job waits' if wait.jobs == 1 else 'jobs wait'}: {wait.text}{starts}"


def straggler_in_words(one: Straggler) -> str:
    """Return which shard is behind, where, and by how much."""
    if one.why == "silent":
        return f"shard {one.shard}: {one.attempt} on {one.node or '?'} was not heard of for {duration(one.silent_s)}"
    times = "" if one.times_median is None else f", {one.times_median:.1f} times the median"
    return f"shard {one.shard}: {one.attempt} on {one.node or '?'} is at it for {duration(one.running_s)}{times}"


def training_in_words(training: TrainingStatus) -> str:
    """Return how far a training is, in a line."""
    total = "" if training.total_steps is None else f" of {training.total_steps:,}"
    parts = [f"step {training.step:,}{total}, epoch {training.epoch:.2f} of {training.epochs}"]
    if training.loss is not None:
        parts.append(f"loss {training.loss:.4f}")
    if training.samples_per_s is not None:
        parts.append(f"{training.samples_per_s:,.0f} samples/s")
    if training.checkpoint_step is not None:
        age = duration(training.checkpoint_age_s)
        parts.append(f"checkpoint of step {training.checkpoint_step:,}, {age} old")
    lost_s = training.lost_work_s + training.lost_waiting_s
    if lost_s >= 1:
        parts.append(f"{duration(lost_s)} lost to interruptions")
    return "; ".join(parts)


def evaluation_in_words(evaluation: EvaluationStatus) -> list[str]:
    """Return a line for each cell that is done, as far as there is room."""
    done = [cell for cell in evaluation.cells if cell.state == "done" and cell.value is not None]
    lines = [
        f"{cell.model}, {cell.dataset}, {cell.task}: {cell.main} {100 * (cell.value or 0.0):.1f} %"
        for cell in done[:_CELLS_SHOWN]
    ]
    return lines + ([f"and {len(done) - _CELLS_SHOWN} more"] if len(done) > _CELLS_SHOWN else [])
