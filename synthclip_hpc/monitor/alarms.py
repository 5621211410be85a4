"""What needs the user: found in the parts of a look, the worst first."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slurm.accounting import is_switched_off
from synthclip_hpc.launch.liveness import has_jobs
from synthclip_hpc.monitor.failures import NODE_UNFIT, FailureGroup
from synthclip_hpc.monitor.parts import Alarm
from synthclip_hpc.monitor.snapshot import PhaseStatus, Source
from synthclip_hpc.monitor.story import Story
from synthclip_hpc.monitor.stragglers import SILENT_S
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission

IDLE_PERCENT = 5.0
"""GPUs that are busy less of the time are idle."""
_IDLE_SAMPLES = 4
"""They have to be so over as many samples: two minutes."""
_IDLE_FOR_S = 180.0
"""Samples come every 30 s; where the last ones are older than together this, sampling has ended and tells nothing."""
FAILING_SHARE, FAILING_LEAST = 0.05, 3
"""A phase at work is failing when so many of the shards that were tried failed, and no fewer."""
_GROUPS_SHOWN, _NAMES_SHOWN = 3, 3
_ORDER = ("stuck", "failed", "stopped", "node", "failing", "silent", "idle-gpu", "queue", "clock", "journal")


@dataclass(frozen=True)
class Scene:
    """What a look has found. Phases go by `stage/phase`, in the order of the pipeline."""

    run: Run
    now: float
    phases: Mapping[str, PhaseStatus]
    stories: Mapping[str, Mapping[str, Story]]
    submissions: Sequence[Submission]
    alive: Sequence[Submission]
    is_settled: bool
    """Whether the queue was asked long enough after the last submission to know of it."""
    open_groups: Sequence[FailureGroup]
    """Failures with shards that are still to be done."""
    sources: Mapping[str, Source]

    def command(self, name: str, *words: str) -> str:
        """Return a command about the run, to be typed as it stands."""
        return " ".join([f"python -m synthclip_hpc.{name}", *words, f"run={shlex.quote(str(self.run.path))}"])

    def is_acted_on(self, group: FailureGroup) -> bool:
        """Tell whether somebody has submitted its phase again since it last failed so."""
        made = (float(one.record["created"]) for one in self.alive if f"{one.stage}/{one.phase}" == group.phase)
        return max(made, default=0.0) > group.last


def alarms_of(scene: Scene) -> tuple[Alarm, ...]:
    """Return the alarms of phases, of the run, of groups of failures, of hosts' clocks and journals, and of sources."""
    found = [alarm for key, phase in scene.phases.items() for alarm in _of_phase(key, phase, scene)]
    found += [*_stopped(scene), *_of_nodes(scene), *_failing(scene)]
    found += _of_hosts([story for stories in scene.stories.values() for story in stories.values()])
    found += _of_sources(scene.sources)
    return tuple(sorted(found, key=lambda alarm: _ORDER.index(alarm.kind)))


def _of_phase(key: str, phase: PhaseStatus, scene: Scene) -> Iterable[Alarm]:
    for wait in phase.waits:
        if wait.stuck:
            yield Alarm("stuck", key, f"{wait.jobs} {_in_number('job', wait.jobs)} {wait.text}")
    if phase.state == "blocked" and not any(wait.stuck for wait in phase.waits):
        yield Alarm("stuck", key, phase.message)
    if phase.state == "failed":
        yield Alarm("failed", key, phase.message or "attempts failed; see the failures, then resume")
    first = phase.stragglers[0] if phase.stragglers else None
    if first is not None and first.why == "silent":
        lives = [one for one in phase.lives if one.shards_now and (one.heard_age_s or 0.0) > SILENT_S]
        yield Alarm(
            "silent",
            key,
            f"{len(lives)} running {_in_number('attempt', len(lives))} fell silent, {first.attempt} on "
            f"{first.node or '?'} {first.silent_s / 60:.0f} minutes ago: look at its log",
        )
    running = [scene.stories[key][one.name] for one in phase.lives if one.state == "running" and one.gpu]
    idle = [story for story in running if is_idle(story, scene.now, trains=phase.kind == "gang")]
    if idle:
        nodes = few(sorted({story.node for story in idle}), 5)
        yield Alarm("idle-gpu", key, f"{len(idle)} {_in_number('attempt', len(idle))} with idle GPUs, on {nodes}")


def is_idle(story: Story, now: float, *, trains: bool = False) -> bool:
    """Tell whether a running attempt holds GPUs that had nothing to do over the last samples.

    Before it is ready, or where it `trains` before its first steps, GPUs wait for a model that is loaded, as they
    should.
    """
    last = list(story.tally.gpu)[-_IDLE_SAMPLES:]
    since = story.trains_since if trains else story.started + (story.ready_s or 0.0)
    if story.ready_s is None or not since or len(last) < _IDLE_SAMPLES or last[0].time < since:
        return False
    # By the node's own clock, plus what has passed since its last word: hosts' clocks may differ.
    is_recent = story.heard - last[0].time + story.silent_s(now) <= _IDLE_FOR_S
    return is_recent and all(sample.utilisation_percent < IDLE_PERCENT for sample in last)


def _stopped(scene: Scene) -> Iterable[Alarm]:
    """Say that nothing goes on with a run that is not done, once for the run: of the phase at its turn."""
    phases = scene.phases
    if scene.alive or not scene.is_settled or any(phase.state in ("failed", "blocked") for phase in phases.values()):
        return
    of_phase = {f"{one.stage}/{one.phase}": one for one in scene.submissions if has_jobs(one)}
    for key, phase in phases.items():
        if phase.state == "partial" or (phase.state == "waiting" and key in of_phase):
            last = of_phase.get(key)
            why = "cancelled, " if last is not None and last.is_cancelled() else ""
            shards = f"{phase.shards_total - phase.shards_done:,} of {phase.shards_total:,} shards open"
            yield Alarm("stopped", key, f"{why}{shards}, nothing of the run is at work: {scene.command('resume')}")
            return


def _of_nodes(scene: Scene) -> Iterable[Alarm]:
    """Say whom groups of failures blame that nobody has acted on, and what to type."""
    blaming = [one for one in scene.open_groups if one.verdict.follows == "node" and not scene.is_acted_on(one)]
    blaming.sort(key=lambda group: -group.count)
    for group in blaming[:_GROUPS_SHOWN]:
        nodes, kind = ",".join(group.verdict.blamed), group.fingerprint.type
        told = f"{group.count} × {kind} follow {few(group.verdict.blamed)} ({group.verdict.evidence})"
        command = scene.command("resume", f"only=group:{group.id}", f"exclude={nodes}")
        if kind == NODE_UNFIT:
            message = " ".join(group.sample.message.split())
            told = f"{few(group.verdict.blamed)} found unfit ({message}): tell the cluster's admins"
            command = scene.command("resume", f"exclude={nodes}")
        yield Alarm("node", group.phase, f"{told}; {_when(scene, group.phase)}{command}")
    if len(blaming) > _GROUPS_SHOWN:
        more = len(blaming) - _GROUPS_SHOWN
        yield Alarm("node", blaming[_GROUPS_SHOWN].phase, f"{more} more such groups: {scene.command('failures')}")


def _when(scene: Scene, key: str) -> str:
    """Return from when on a phase can be resumed: not while a submission has its shards."""
    if not any(f"{one.stage}/{one.phase}" == key for one in scene.alive):
        return ""
    return f"when it has ended, or after cancel stage={key.partition('/')[0]}: "


def _failing(scene: Scene) -> Iterable[Alarm]:
    """Say of phases at work that much of what they do fails."""
    for key, phase in scene.phases.items():
        failed, tried = phase.shards_failed, phase.shards_failed + phase.shards_done
        if phase.state == "running" and failed >= max(FAILING_LEAST, FAILING_SHARE * tried):
            groups = [group for group in scene.open_groups if group.phase == key]
            if not groups or not all(scene.is_acted_on(group) for group in groups):
                share = f"{failed:,} of the {tried:,} shards tried so far failed"
                yield Alarm("failing", key, f"{share}: {scene.command('failures')}")


def _of_sources(sources: Mapping[str, Source]) -> Iterable[Alarm]:
    for name, source in sources.items():
        if name == "sacct" and is_switched_off(source.error or ""):
            continue  # a cluster without accounting: the source says so, and nobody can change it
        if source.error:
            old = "why attempts ended may not be known" if name == "sacct" else "what is shown of the queue may be old"
            yield Alarm("queue", name, f"{source.error}; {old}")


def _of_hosts(stories: Iterable[Story]) -> Iterable[Alarm]:
    off: dict[str, float] = {}
    lost: dict[str, int] = {}
    for story in stories:
        seconds, node = story.clock.off_s(), story.node or "?"
        if abs(seconds) > abs(off.get(node, 0.0)):
            off[node] = seconds
        if story.lost_events:
            lost[node] = lost.get(node, 0) + story.lost_events
    for direction, sign in (("ahead of", 1), ("behind", -1)):
        nodes = sorted((node for node in off if off[node] * sign > 0), key=lambda node: -abs(off[node]))
        if nodes:
            who, up_to = ("its clock is", "") if len(nodes) == 1 else ("their clocks are", "up to ")
            text = (
                f"{who} {up_to}{abs(off[nodes[0]]):.0f} s {direction} this host's; times of events are off by as much"
            )
            yield Alarm("clock", few(nodes), text)
    if lost:
        nodes = sorted(lost, key=lambda node: -lost[node])
        text = f"{sum(lost.values())} events could not be written to journals there (a full disk?)"
        yield Alarm("journal", few(nodes), f"{text}; counts of items may be low")


def few(names: Sequence[str], shown: int = _NAMES_SHOWN) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _in_number(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
