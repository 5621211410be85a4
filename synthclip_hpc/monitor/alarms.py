"""What needs the user: found in the parts of a snapshot, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synthclip_hpc.monitor.parts import Alarm, AttemptStatus
from synthclip_hpc.monitor.snapshot import PhaseStatus, Source
from synthclip_hpc.monitor.story import Story
from synthclip_hpc.monitor.stragglers import MOST

IDLE_PERCENT = 5.0
"""GPUs that are busy less of the time are idle."""
_IDLE_SAMPLES = 4
"""They have to be so over as many samples: two minutes."""
_ORDER = ("stuck", "failed", "silent", "idle-gpu", "queue", "clock", "journal")


def alarms_of(
    phases: Mapping[str, PhaseStatus], stories: Iterable[Story], sources: Mapping[str, Source]
) -> tuple[Alarm, ...]:
    """Return the alarms of phases by `stage/phase`, of hosts' clocks and journals, and of sources that fail."""
    found = [alarm for key, phase in phases.items() for alarm in _of_phase(key, phase)]
    found += _of_hosts(stories)
    found += [
        Alarm("queue", name, f"{source.error}; what is shown of the queue may be old")
        for name, source in sources.items()
        if source.error
    ]
    return tuple(sorted(found, key=lambda alarm: _ORDER.index(alarm.kind)))


def _of_phase(key: str, phase: PhaseStatus) -> Iterable[Alarm]:
    for wait in phase.waits:
        if wait.stuck:
            yield Alarm("stuck", key, f"{wait.jobs} {_jobs(wait.jobs)} {wait.text}")
    if phase.state == "blocked" and not any(wait.stuck for wait in phase.waits):
        yield Alarm("stuck", key, phase.message)
    if phase.state == "failed":
        yield Alarm("failed", key, phase.message or "attempts failed; see the failures, then resume")
    silent = [one for one in phase.stragglers if one.why == "silent"]
    if silent:
        first = silent[0]
        yield Alarm(
            "silent",
            key,
            f"{len(silent)}{' or more' if len(phase.stragglers) == MOST else ''} running {_attempts(len(silent))} fell "
            f"silent, {first.attempt} on {first.node or '?'} "
            f"{first.silent_s / 60:.0f} minutes ago: look at its log",
        )
    idle = [one for one in phase.lives if is_idle(one)]
    if idle:
        nodes = ", ".join(sorted({one.node for one in idle})[:5])
        yield Alarm("idle-gpu", key, f"{len(idle)} {_attempts(len(idle))} with idle GPUs, on {nodes}")


def is_idle(attempt: AttemptStatus) -> bool:
    """Tell whether an attempt holds GPUs that had nothing to do over the last samples."""
    last = attempt.gpu[-_IDLE_SAMPLES:]
    return len(last) == _IDLE_SAMPLES and all(sample.utilisation_percent < IDLE_PERCENT for sample in last)


def _of_hosts(stories: Iterable[Story]) -> Iterable[Alarm]:
    off: dict[str, float] = {}
    lost: dict[str, int] = {}
    for story in stories:
        seconds = story.clock.off_s()
        if abs(seconds) > abs(off.get(story.node, 0.0)):
            off[story.node] = seconds
        if story.lost_events:
            lost[story.node] = lost.get(story.node, 0) + story.lost_events
    for node, seconds in off.items():
        direction = "ahead of" if seconds > 0 else "behind"
        text = f"its clock is {abs(seconds):.0f} s {direction} this host's; times of its events are off by as much"
        yield Alarm("clock", node or "?", text)
    for node, count in lost.items():
        text = f"{count} events could not be written to journals there (a full disk?); counts of items may be low"
        yield Alarm("journal", node or "?", text)


def _jobs(count: int) -> str:
    return "job" if count == 1 else "jobs"


def _attempts(count: int) -> str:
    return "attempt" if count == 1 else "attempts"
