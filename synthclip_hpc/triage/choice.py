"""What a `resume` is to take of what is missing: `only=`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.chain import Link, bound_links, is_sealed, missing_shards
from synthclip_hpc.monitor.failures import group_failures
from synthclip_hpc.run import Run
from synthclip_hpc.stage_order import STAGES
from synthclip_hpc.submissions import all_submissions
from synthclip_hpc.triage.reading import failed_shards, read_lives, shards_of

_FORMS = "failed, group:ID, shards:7,9-12 or shards:STAGE/PHASE/7,9-12"
_RANGES = r"[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*"
_SHOWN = 10


@dataclass(frozen=True)
class Choice:
    """What `only=` means."""

    shards: Mapping[str, frozenset[int]]
    """Missing shards by `stage/phase`."""
    group: str = ""
    """Which group of failures that is, in words."""


def choose_shards(run: Run, only: str) -> Choice:
    """Return the missing shards that `only=` means.

    Raises UserError for a form, a group, a phase or a shard that does not exist, and for a shard that is done.
    """
    kind, _, rest = only.partition(":")
    links = [link for link in bound_links(run, STAGES) if link.plan.num_shards]
    if only == "failed":
        return Choice(_failed(run, links))
    if kind == "group" and rest:
        return _group(run, links, only, rest)
    if kind == "shards" and rest:
        return Choice(_named(run, links, only, rest))
    raise UserError(f"only={only}: not understood; write only={_FORMS}")


def _failed(run: Run, links: Sequence[Link]) -> dict[str, frozenset[int]]:
    submissions = all_submissions(run)
    lives = read_lives(run, submissions)
    found = {}
    for link in links:
        key = link.phase.key
        if key in lives and not is_sealed(run, link):
            failed = failed_shards(run, lives[key], set(missing_shards(run, link)), submissions)
            found[key] = frozenset(failed)
    return {key: shards for key, shards in found.items() if shards}


def _group(run: Run, links: Sequence[Link], only: str, text: str) -> Choice:
    submissions = all_submissions(run)
    groups = group_failures(read_lives(run, submissions).values())
    listing = f"python -m synthclip_hpc.failures run={run.path}"
    group = next((one for one in groups if one.id == text), None)
    if group is None:
        known = ", ".join([one.id for one in groups[:_SHOWN]] + ["..."] * (len(groups) > _SHOWN))
        there = f"the groups {known}" if groups else "no failures"
        raise UserError(f"only={only}: no such group; the run has {there}; see: {listing}")
    link = next((link for link in links if link.phase.key == group.phase), None)
    missing = set(missing_shards(run, link)) if link is not None else set()
    chosen = frozenset(shards_of(run, group, submissions) & missing)
    if not chosen:
        raise UserError(
            f"only={only}: none of this group's shards of {group.phase} is missing any more; see what is: {listing}"
        )
    return Choice({group.phase: chosen}, f"group {group.id}: {group.fingerprint.type}: {group.fingerprint.pattern}")


def _named(run: Run, links: Sequence[Link], only: str, text: str) -> dict[str, frozenset[int]]:
    where, _, numbers = text.rpartition("/")
    link = _phase(run, links, only, where)
    key = link.phase.key
    asked = _parse_numbers(only, numbers, key, link.plan.num_shards - 1)
    missing = set() if is_sealed(run, link) else set(missing_shards(run, link))
    if done := [shard for shard in asked if shard not in missing]:
        raise UserError(
            f"only={only}: of {key} already done: {shown(done)}; name missing shards only "
            f"(to make one anew: python -m synthclip_hpc.verify run={run.path}, then repair)"
        )
    return {key: frozenset(asked)}


def _phase(run: Run, links: Sequence[Link], only: str, where: str) -> Link:
    """Return the phase that is named, or the one that is at its turn."""
    if not where:
        unfinished = next((link for link in links if not is_sealed(run, link)), None)
        if unfinished is None:
            raise UserError(f"only={only}: all phases of run={run.path} are finished; nothing is missing")
        return unfinished
    found = [link for link in links if where in (link.phase.key, link.phase.stage)]
    if len(found) != 1:
        keys = ", ".join(link.phase.key for link in found or links)
        raise UserError(f"only={only}: {where!r} names {len(found) or 'no'} phases of this run; name one of {keys}")
    return found[0]


def _parse_numbers(only: str, text: str, key: str, last: int) -> list[int]:
    if not re.fullmatch(_RANGES, text):
        raise UserError(f"only={only}: {text!r} is no list of shards; write e.g. only=shards:7,9-12")
    found: set[int] = set()
    for part in text.split(","):
        begin, end = (int(number) for number in (part.split("-") * 2)[:2])
        if end < begin:
            raise UserError(f"only={only}: {part!r} ends before it begins; write it the other way round")
        if end > last:
            raise UserError(f"only={only}: {key} has the shards 0 to {last}, not {part}")
        found |= set(range(begin, end + 1))
    return sorted(found)


def shown(shards: Sequence[int]) -> str:
    """Return a list of shards for people: ranges, and how many more when there are many."""
    ranges: list[list[int]] = []
    for shard in shards:
        if ranges and ranges[-1][1] == shard - 1:
            ranges[-1][1] = shard
        else:
            ranges.append([shard, shard])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
    more = f" ... ({len(shards)} in all)" if len(texts) > _SHOWN else ""
    return ",".join(texts[:_SHOWN]) + more
