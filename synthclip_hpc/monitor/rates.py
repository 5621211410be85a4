"""How fast a phase goes, when it will be done, and what it costs: from what its attempts have made in their lives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from synthclip_hpc.monitor.parts import Hours, Span
from synthclip_hpc.monitor.story import Story

_HOUR_S = 3600.0


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


def life_s(story: Story, is_running: bool, now: float) -> float:
    """Return how long an attempt has lived, in seconds; 0 when its start was lost."""
    if not story.started:
        return 0.0
    ended = now if is_running else (story.ended or story.heard)
    return max(0.0, ended - story.started)


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


def time_left(left: int, present: float | None, per_attempt: float | None, attempts: int, running: int) -> Span | None:
    """Return the seconds until `left` more items are made by so many attempts at once, between two guesses.

    `present`: items per second of the `running` ones over the last minutes; `per_attempt`: of one over its whole life.
    The first knows nothing of start-up and of work that interruptions will cost, the second has it all in it.
    """
    rates = [] if per_attempt is None else [per_attempt * attempts]
    if present and running:
        rates.append(present / running * attempts)
    rates = [rate for rate in rates if rate > 0]
    if not rates or left < 0:
        return None
    return Span(left / max(rates), left / min(rates))


def hours(
    device: str, spent: Effort, left: int, present: float | None, devices_now: int, estimate: tuple[float, float] | None
) -> Hours:
    """Return device hours used, and what they will come to when `left` more items are made.

    `present`: items per second now, by `devices_now` devices; `estimate`: device seconds an item, low and high, for as
    long as nothing was made here.
    """
    used = spent.device_s / _HOUR_S
    if left <= 0:
        return Hours(device, used, Span(used, used), "the attempts' journals")
    costs = []
    if spent.items and spent.device_s:
        costs.append(spent.device_s / spent.items)
    if present and devices_now:
        costs.append(devices_now / present)
    if costs:
        source = "this phase's own attempts"
    elif estimate is not None:
        costs, source = list(estimate), "an estimate: nothing was made yet"
    else:
        return Hours(device, used, None, "")
    return Hours(device, used, Span(used + left * min(costs) / _HOUR_S, used + left * max(costs) / _HOUR_S), source)
