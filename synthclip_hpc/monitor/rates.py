"""How fast a phase goes, when it will be done, and what it costs: from what its attempts have made in their lives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from synthclip_hpc.monitor.journals import WINDOW_S
from synthclip_hpc.monitor.parts import Hours, Span
from synthclip_hpc.monitor.story import Story

_HOUR_S = 3600.0
_SLOW_TO_BEGIN_S = 300.0
"""An attempt that has been ready for so long and has made nothing yet counts as one that makes nothing."""


@dataclass(frozen=True)
class Effort:
    """What all attempts of a phase have put in, and made."""

    items: int = 0
    attempt_s: float = 0.0
    """Seconds of life of all attempts together."""
    device_s: float = 0.0
    """The same times the devices that each had."""

    @property
    def per_attempt(self) -> float | None:
        """Items that one attempt makes in a second of its life, start-up and lost work included."""
        return self.items / self.attempt_s if self.items and self.attempt_s else None


@dataclass(frozen=True)
class Pace:
    """What the attempts that run now have made over the last minutes, each since it was ready.

    Of those that have only just begun nothing is known: they are taken to go at the pace of the others. So it is right
    at once when most attempts have been preempted, and when many start.
    """

    attempts: int = 0
    """Those of which something is known."""
    items_per_s: float = 0.0
    """All of them together."""
    devices: int = 0

    @property
    def per_attempt(self) -> float | None:
        """Items that one makes in a second; None while nothing is known."""
        return self.items_per_s / self.attempts if self.attempts and self.items_per_s else None


def pace(stories: Iterable[Story], devices: dict[str, int], now: float) -> Pace:
    """Add up what the stories of the running attempts tell; `devices`: how many an attempt of each submission has."""
    attempts, items_per_s, num_devices = 0, 0.0, 0
    for story in stories:
        ready_for_s = _since_s(story, story.started + (story.ready_s or 0.0), now) if story.started else WINDOW_S
        rate = story.tally.rate(now, now - ready_for_s)
        if rate is None and story.ready_s is not None and ready_for_s > _SLOW_TO_BEGIN_S:
            rate = 0.0
        if rate is not None:
            attempts += 1
            items_per_s += rate
            num_devices += devices.get(story.submission, 1)
    return Pace(attempts, items_per_s, num_devices)


def life_s(story: Story, is_running: bool, now: float) -> float:
    """Return how long an attempt has lived, in seconds; 0 when its start was lost."""
    if not story.started:
        return 0.0
    ended = now if is_running else (story.ended or story.heard)
    return max(0.0, ended - story.started)


def worked_s(stories: Iterable[Story]) -> float:
    """Return the seconds in which any attempt that has ended was at work: without waits, and idle time before `repair`.

    Attempts side by side count once; those whose start was lost do not count.
    """
    worked, until = 0.0, 0.0
    lives = [(story.started, life_s(story, False, 0.0)) for story in stories if story.role == "work" and story.started]
    for started, seconds in sorted(lives):
        worked += max(0.0, started + seconds - max(started, until))
        until = max(until, started + seconds)
    return worked


def present_since(stories: Iterable[Story], running: set[str], now: float) -> float:
    """Return when the attempts began that were at work in the last minutes; `now` where none was.

    A rate since then is not diluted by the time that lies between the end of a run and its `resume`.
    """
    lives = (
        _since_s(story, story.started, now)
        for story in stories
        if story.role == "work" and story.started and (story.name in running or story.silent_s(now) < WINDOW_S)
    )
    return now - max(lives, default=0.0)


def _since_s(story: Story, at: float, now: float) -> float:
    """Return how long ago something in an attempt's journal was, in seconds."""
    # By the node's own clock, plus what has passed since its last word: hosts' clocks may differ.
    return max(0.0, story.heard - at) + story.silent_s(now)


def effort(stories: Iterable[Story], running: set[str], devices: dict[str, int], now: float) -> Effort:
    """Add up the lives of all attempts at work; `devices`: how many an attempt of each submission has."""
    items, attempt_s, device_s = 0, 0.0, 0.0
    for story in stories:
        if story.role == "work":
            seconds = life_s(story, story.name in running, now)
            items += story.tally.items
            attempt_s += seconds
            device_s += seconds * devices.get(story.submission, 1)
    return Effort(items, attempt_s, device_s)


def time_left(left: int, present: float | None, whole: float | None, attempts: int) -> Span | None:
    """Return the seconds until `left` more items are made by so many attempts at once, between two guesses.

    Both are items that one attempt makes in a second: `present` over the last minutes of those that run, `whole` over
    whole lives. The first knows nothing of start-up and of work that interruptions will cost, the second has it all.
    """
    rates = [rate * attempts for rate in (present, whole) if rate is not None and rate * attempts > 0]
    if not rates or left < 0:
        return None
    return Span(left / max(rates), left / min(rates))


def hours(device: str, spent: Effort, left: int, present: Pace, estimate: tuple[float, float] | None) -> Hours:
    """Return device hours used, and what they will come to when `left` more items are made.

    `estimate`: device seconds an item, low and high, for as long as nothing was made here.
    """
    used = spent.device_s / _HOUR_S
    if left <= 0:
        return Hours(device, used, Span(used, used), "the attempts' journals")
    costs = []
    if spent.items and spent.device_s:
        costs.append(spent.device_s / spent.items)
    if present.items_per_s and present.devices:
        costs.append(present.devices / present.items_per_s)
    if costs:
        source = "this phase's own attempts"
    elif estimate is not None:
        costs, source = list(estimate), "an estimate: nothing was made yet"
    else:
        return Hours(device, used, None, "")
    return Hours(device, used, Span(used + left * min(costs) / _HOUR_S, used + left * max(costs) / _HOUR_S), source)
