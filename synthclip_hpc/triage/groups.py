"""The groups of a run's failures with what a person wants to know next: what is still open, where the log is, what to
type."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthclip_hpc.monitor.failures import FailureGroup, group_failures
from synthclip_hpc.monitor.lives import PhaseLives
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions
from synthclip_hpc.triage.reading import log_path, read_lives, shards_of

_SHOWN = 8


@dataclass(frozen=True)
class GroupReport:
    """One group, and what became of it."""

    group: FailureGroup
    shards: tuple[int, ...]
    """All shards that it concerns: those that failed, or those of attempts that failed as a whole."""
    open: tuple[int, ...]
    """Those of them without a marker."""
    log: Path | None
    """The log that tells of the sample."""
    command: str
    """What to type next; empty when nothing of it is left to do."""

    def to_json(self) -> dict[str, Any]:
        """Return it for `json=true`: schema 1, to which keys may be added."""
        group, sample = self.group, self.group.sample
        return {
            "id": group.id,
            "phase": group.phase,
            **group.fingerprint._asdict(),
            "count": group.count,
            "first": group.first,
            "last": group.last,
            "nodes": dict(group.nodes),
            "elements": [f"{submission}/{element}" for submission, element in group.elements],
            "shards": list(self.shards),
            "open": list(self.open),
            "follows": group.verdict.follows,
            "blamed": list(group.verdict.blamed),
            "evidence": group.verdict.evidence,
            "sample": {
                "message": sample.message,
                "attempt": sample.attempt,
                "node": sample.node,
                "shard": sample.shard,
                "time": sample.time,
                "log": str(self.log) if self.log is not None else None,
            },
            "command": self.command,
        }

    def lines(self) -> list[str]:
        """Return it for people."""
        group, kind = self.group, self.group.fingerprint
        times = f"{group.count} times" if group.count != 1 else "once"
        where = f" in {kind.frame}" if kind.frame else ""
        told = [
            f"group {group.id}  {group.phase}  {kind.type}{where}  {times}",
            f"  {' '.join(group.sample.message.split())[:300]}",
            f"  first {_clock(group.first)}, last {_clock(group.last)}",
        ]
        if group.nodes:
            nodes = [f"{node} ({count})" for node, count in group.nodes.items()]
            told.append(f"  nodes: {_few(nodes)}")
        if self.shards:
            open_text = f"{len(self.open)} still open" if self.open else "all done by now"
            told.append(f"  shards: {_few([str(shard) for shard in self.shards])} ({open_text})")
        told.append(f"  follows {_whom(group)}: {group.verdict.evidence}")
        if self.log is not None:
            told.append(f"  log: {self.log} (attempt {group.sample.attempt})")
        return [*told, f"  next: {self.command}"] if self.command else told


def report_failures(run: Run) -> list[GroupReport]:
    """Read a run's journals and return its groups of failures, in order of first occurrence."""
    submissions = all_submissions(run)
    lives = read_lives(run, submissions)
    marked = {key: run.phase(*key.split("/")).marked_shards() for key in lives}
    found = []
    for group in group_failures(lives.values()):
        shards = shards_of(run, group, submissions)
        still_open = tuple(sorted(shards - marked[group.phase]))
        log = sample_log(run, group, lives[group.phase], submissions)
        found.append(
            GroupReport(group, tuple(sorted(shards)), still_open, log, next_command(run, group, bool(still_open)))
        )
    return found


def next_command(run: Run, group: FailureGroup, is_open: bool) -> str:
    """Return what to type about a group: leave its nodes alone, look at its shard, or try again."""
    at = f"run={shlex.quote(str(run.path))}"
    if not is_open:
        return ""
    if group.verdict.follows == "node":
        nodes = ",".join(group.verdict.blamed)
        return f"python -m synthclip_hpc.resume only=group:{group.id} exclude={nodes} {at}"
    if group.verdict.follows == "shard":
        return f"python -m synthclip_hpc.why shard={group.phase}/{group.verdict.blamed[0]} {at}"
    return f"python -m synthclip_hpc.resume only=group:{group.id} {at}"


def blamed_nodes(reports: Sequence[GroupReport]) -> dict[str, tuple[str, ...]]:
    """Return the nodes that groups with work still open blame, with those groups' ids."""
    found: dict[str, tuple[str, ...]] = {}
    for one in reports:
        if one.open and one.group.verdict.follows == "node":
            for node in one.group.verdict.blamed:
                found[node] = (*found.get(node, ()), one.group.id)
    return dict(sorted(found.items()))


def exclude_command(run: Run, nodes: Sequence[str]) -> str:
    """Return the command that goes on with everything but these nodes."""
    return f"python -m synthclip_hpc.resume exclude={','.join(nodes)} run={shlex.quote(str(run.path))}"


def sample_log(run: Run, group: FailureGroup, lives: PhaseLives, submissions: Sequence[Submission]) -> Path | None:
    """Return the log that tells of a group's sample; None when it is not there (any more)."""
    life = lives.lives.get(group.sample.attempt)
    path = log_path(run, life, submissions) if life is not None else None
    return path if path is not None and path.exists() else None


def _whom(group: FailureGroup) -> str:
    verdict = group.verdict
    if verdict.follows == "neither":
        return "neither a node nor a shard"
    one = verdict.follows if len(verdict.blamed) == 1 else f"{verdict.follows}s"
    return f"the {one} {_few(list(verdict.blamed))}"


def _few(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
