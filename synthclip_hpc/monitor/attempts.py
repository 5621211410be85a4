"""The attempts of a phase as a screen lists them; those that have ended are described once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from synthclip_hpc.monitor.parts import AttemptStatus
from synthclip_hpc.monitor.rates import life_s
from synthclip_hpc.monitor.story import Story

_MESSAGE_CHARACTERS = 300


@dataclass
class AttemptList:
    """Keeps the descriptions of ended attempts from look to look."""

    _ended: dict[str, tuple[tuple[float, str, str], AttemptStatus]] = field(default_factory=dict)

    def update(
        self,
        stories: Iterable[Story],
        running: set[str],
        causes: Mapping[str, str],
        shards_now: Mapping[str, list[int]],
        now: float,
    ) -> tuple[AttemptStatus, ...]:
        """Return all attempts at work, the latest start first.

        `causes`: why each that did not complete has ended; `shards_now`: what each that runs is at.
        """
        found = []
        for story in stories:
            if story.role != "work":
                continue
            if story.name in running:
                found.append(_running(story, tuple(shards_now.get(story.name, ())), now))
            else:
                found.append(self._of_ended(story, causes.get(story.name, "")))
        found.sort(key=lambda one: one.started or 0.0, reverse=True)
        return tuple(found)

    def _of_ended(self, story: Story, cause: str) -> AttemptStatus:
        version = (story.heard, cause, story.message)
        known = self._ended.get(story.name)
        if known is not None and known[0] == version:
            return known[1]
        seconds = life_s(story, False, 0.0)
        rate = story.tally.items / seconds if story.tally.items and seconds else None
        state = "completed" if not cause else "failed" if cause == "failure" else "interrupted"
        status = _status(story, state, cause, ended=story.ended or story.heard or None, rate=rate)
        story.tally.forget()
        self._ended[story.name] = (version, status)
        return status


def _running(story: Story, shards_now: tuple[int, ...], now: float) -> AttemptStatus:
    since = story.started or now
    story.tally.forget(now)
    return _status(
        story,
        "running",
        "",
        rate=story.tally.rate(now, since),
        heard_age_s=story.silent_s(now),
        shards_now=shards_now,
        throughput=story.tally.throughput(now, since),
    )


def _status(
    story: Story,
    state: str,
    cause: str,
    *,
    rate: float | None,
    ended: float | None = None,
    heard_age_s: float | None = None,
    shards_now: tuple[int, ...] = (),
    throughput: tuple[float, ...] = (),
) -> AttemptStatus:
    return AttemptStatus(
        name=story.name,
        submission=story.submission,
        element=story.index,
        restart=story.restart,
        node=story.node,
        state=state,
        cause=cause,
        message=" ".join(story.message.split())[:_MESSAGE_CHARACTERS],
        started=story.started or None,
        ended=ended,
        shards_done=story.tally.shards_done,
        shards_failed=story.failed_shards,
        items=story.tally.items,
        items_per_s=rate,
        heard_age_s=heard_age_s,
        shards_now=shards_now,
        throughput=throughput,
        gpu=tuple(story.tally.gpu) if state == "running" else (),
        ready_s=story.ready_s,
    )
