"""Does a failure follow a node, or a shard? A rule simple enough to be checked by hand.

*Shard*: what failed fails again. Of the shards that were tried again after failing this way, four fifths or more have
failed every time since, at least half of all shards never failed this way, and it is not the node: each of them failed
on two nodes, or on one that passed other shards.

*Node*: failures crowd on a node more than chance would have it. Of all tries (one attempt at one shard each, failed
this way or passed), how probable is it that at least so many of the failures fall on this node's tries by accident?
That is Fisher's exact test, one-sided, times the number of nodes, because the worst of them is looked at. A node is
blamed at 5 % or less, when two shards or more have failed on it and at most a fifth of these failed elsewhere too.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

CHANCE = 0.05
MOST = 0.8
_SHOWN = 5


class Try(NamedTuple):
    """One attempt at one thing: a shard; or an element, where attempts failed as a whole."""

    node: str
    """Empty where nobody knows."""
    thing: str
    time: float
    """When it ended, in seconds since 1970."""


class Passed:
    """The tries that went well, counted once for all groups of a phase."""

    def __init__(self, tries: Iterable[Try] = ()) -> None:
        self.last: dict[str, float] = {}
        """Of each thing that passed, when it did so last."""
        self.by_node: Counter[str] = Counter()
        for one in tries:
            self.last[one.thing] = max(one.time, self.last.get(one.thing, one.time))
            self.by_node[one.node] += 1


@dataclass(frozen=True)
class Verdict:
    """What a group of failures follows."""

    follows: Literal["node", "shard", "neither"]
    blamed: tuple[str, ...]
    """The nodes, or the shards (as text)."""
    evidence: str
    """Why, in a line."""


def judge(failed: Collection[Try], passed: Passed, *, are_shards: bool = True) -> Verdict:
    """Return what the failed tries follow. An element is no shard: what fails as a whole can follow a node only."""
    repeated = _repeating_shards(failed, passed) if are_shards else None
    if repeated is not None:
        return repeated
    failures = Counter(one.node for one in failed)
    nodes = sorted({node for node in (*failures, *passed.by_node) if node})
    blamed = _blamed_nodes(failed, failures, passed, nodes) if len(nodes) > 1 else []
    there = sum(failures[node] for node in blamed)
    if blamed and there >= MOST * len(failed):
        tries_there = there + sum(passed.by_node[node] for node in blamed)
        elsewhere = len(failed) + passed.by_node.total() - tries_there
        return Verdict(
            "node",
            tuple(blamed),
            f"on {', '.join(blamed)} {there} of {tries_there} tries failed, "
            f"elsewhere {len(failed) - there} of {elsewhere}",
        )
    return Verdict("neither", (), _undecided(failed, passed, failures, nodes))


def chance(failed: int, tries: int, failed_here: int, tries_here: int) -> float:
    """Return how probable it is that `failed_here` or more of `failed` tries are among `tries_here` by accident."""

    def log_ways(total: int, taken: int) -> float:
        return math.lgamma(total + 1) - math.lgamma(taken + 1) - math.lgamma(total - taken + 1)

    passed = tries - failed
    passed_here = tries_here - failed_here
    term = math.exp(log_ways(failed, failed_here) + log_ways(passed, passed_here) - log_ways(tries, tries_here))
    found = 0.0
    for here in range(failed_here, min(failed, tries_here) + 1):
        found += term
        # From one term of the hypergeometric distribution to the next; by logarithms, as the numbers are huge.
        term *= (failed - here) * (tries_here - here) / ((here + 1) * (passed - tries_here + here + 1))
    return min(found, 1.0)


def _blamed_nodes(failed: Collection[Try], failures: Counter[str], passed: Passed, nodes: list[str]) -> list[str]:
    """Return the nodes that are to blame; `failures` counts the failed tries by node."""
    things_of: dict[str, set[str]] = defaultdict(set)
    nodes_of: dict[str, set[str]] = defaultdict(set)
    for one in failed:
        things_of[one.node].add(one.thing)
        nodes_of[one.thing].add(one.node)
    tries = len(failed) + passed.by_node.total()
    found = []
    for node in nodes:
        things, here = things_of.get(node, set()), failures[node]
        also_elsewhere = sum(len(nodes_of[thing]) > 1 for thing in things)
        if len(things) >= 2 and also_elsewhere <= (1 - MOST) * len(things):
            by_accident = chance(len(failed), tries, here, here + passed.by_node[node])
            if by_accident * len(nodes) <= CHANCE:
                found.append(node)
    return found


def _repeating_shards(failed: Collection[Try], passed: Passed) -> Verdict | None:
    failures: dict[str, list[Try]] = defaultdict(list)
    for one in failed:
        failures[one.thing].append(one)
    first = {thing: min(one.time for one in tries) for thing, tries in failures.items()}
    # What passed before its first failure (and was reopened by `repair`) says nothing about it.
    mended = {thing for thing in failures if passed.last.get(thing, -math.inf) > first[thing]}
    again = {thing for thing, tries in failures.items() if len(tries) > 1} - mended
    others = len(passed.last.keys() - failures.keys())
    if not again or len(again) < MOST * len(again | mended) or len(failures) > others:
        return None
    for thing in again:
        nodes = {one.node for one in failures[thing]}
        if len(nodes) < 2 and not any(passed.by_node[node] for node in nodes):
            return None
    repeated = sorted(again, key=lambda thing: (len(thing), thing))
    least, most = (end(len(failures[thing]) for thing in again) for end in (min, max))
    on = sorted({one.node for thing in again for one in failures[thing] if one.node})
    where = f" on {', '.join(on[:_SHOWN])}{', ...' if len(on) > _SHOWN else ''}" if on else ""
    often = f"{least}" if least == most else f"{least} to {most}"
    evidence = f"failed again in each of {often} attempts{where}; {others} other shards passed"
    return Verdict("shard", tuple(repeated), evidence)


def _undecided(failed: Collection[Try], passed: Passed, failures: Counter[str], nodes: list[str]) -> str:
    tries = len(failed) + passed.by_node.total()
    told = f"{len(failed)} of {tries} tries failed"
    if len({one.thing for one in failed}) == len(failed):
        told += ", none twice"
    return f"{told}, on {len([node for node in failures if node])} of {len(nodes)} nodes" if len(nodes) > 1 else told
