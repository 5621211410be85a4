"""Why attempts ended: from their journals first, from Slurm's accounting last, for those that vanished."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from slurm.accounting import AccountingRow, AccountingSnapshot, ended_by, match_lives
from synthclip_hpc.monitor.journals import Story

CAUSES = ("preemption", "timeout", "node_failure", "failure", "requeue", "cancelled", "node_unfit", "unknown")

ASK_FOR_S = 3600.0
"""Accounting lags; for so long after an attempt was first seen to be gone it may still learn how that ended."""

_TERMINATED = (-15, 143)
"""Exit codes of a local worker after SIGTERM: before its handler was there, and after."""
_FROM_JOURNAL = {"failed": "failure", "error": "failure", "gave_up": "failure", "node_unfit": "node_unfit"}


def explain(
    stories: Iterable[Story], running: set[str], ask: Callable[[Sequence[str]], AccountingSnapshot]
) -> tuple[Mapping[str, int], AccountingSnapshot | None]:
    """Count causes over all attempts that ended without finishing their share: `Causes` for one look alone."""
    causes = Causes()
    found = causes.explain(stories, running, ask, now=0.0)
    return Counter(found.values()), causes.answer


class Causes:
    """Why attempts ended; what accounting has once told is not asked again."""

    def __init__(self) -> None:
        self.answer: AccountingSnapshot | None = None
        """The last answer of accounting; None while it was not needed."""
        self._told: dict[tuple[str, float], str] = {}
        """What accounting said of an attempt, by its name and start."""
        self._gone: dict[tuple[str, float], float] = {}
        """When an attempt was first seen to be gone; its last word may be hours older."""

    def explain(
        self,
        stories: Iterable[Story],
        running: set[str],
        ask: Callable[[Sequence[str]], AccountingSnapshot],
        now: float,
    ) -> dict[str, str]:
        """Return the cause of each attempt that ended without finishing its share, by name.

        `running` names the attempts that are alive. `ask` is called once at most, with the job ids of attempts whose
        end no journal explains: killed without a word, or ended by Slurm's SIGTERM, which does not say why it came.
        What accounting does not know ASK_FOR_S after an attempt was first seen to be gone is not asked again.
        """
        stories = list(stories)
        # What was taken for gone while the queue could not be read, and runs after all, has not been gone.
        self._gone = {key: at for key, at in self._gone.items() if key not in self._told and key[0] not in running}
        found: dict[str, str] = {}
        vanished: list[Story] = []
        for story in stories:
            if story.role != "work" or story.name in running or _is_completed(story):
                continue
            if story.end_reason in _FROM_JOURNAL:
                found[story.name] = _FROM_JOURNAL[story.end_reason]
            elif story.requeue_cause is not None:
                found[story.name] = story.requeue_cause
            elif not story.job.isdigit():
                found[story.name] = _local_cause(story)
            elif (told := self._told.get((story.name, story.started))) is not None:
                found[story.name] = told
            else:
                vanished.append(story)
        if vanished:
            found |= self._ask(vanished, stories, ask, now)
        return found

    def _ask(
        self,
        vanished: Sequence[Story],
        stories: Sequence[Story],
        ask: Callable[[Sequence[str]], AccountingSnapshot],
        now: float,
    ) -> dict[str, str]:
        self.answer = ask(sorted({story.job for story in vanished}))
        causes: dict[str, str] = {}
        told = _from_accounting(vanished, stories, self.answer.rows)
        for story, (cause, is_final) in zip(vanished, told, strict=True):
            key = story.name, story.started
            causes[story.name] = cause
            gone_at = self._gone.setdefault(key, now)
            if is_final or (self.answer.error is None and now > gone_at + ASK_FOR_S):
                self._told[key] = cause
        return causes


def _from_accounting(
    vanished: Sequence[Story], stories: Sequence[Story], rows: Sequence[AccountingRow]
) -> Iterator[tuple[str, bool]]:
    """Return the cause of each that vanished, and whether that is accounting's last word on it."""
    rows_of: dict[str, list[AccountingRow]] = defaultdict(list)
    for row in rows:
        rows_of[row.job_id].append(row)
    starts: dict[str, dict[int, float | None]] = defaultdict(dict)
    for story in stories:
        if not story.superseded:
            starts[story.element_id][story.restart] = story.started or None
    matched: dict[str, dict[int, AccountingRow]] = {}
    for story in vanished:
        if story.superseded:
            yield "unknown", True  # of a cluster that was rebuilt since: its records are gone
            continue
        element = story.element_id
        if element not in matched:
            mine = rows_of.get(element) or rows_of.get(story.job, [])
            matched[element] = match_lives(mine, starts[element], max(starts[element]) + 1)
        life = matched[element].get(story.restart)
        cause = ended_by(life.state) if life is not None else "unknown"
        # A record without an end is that of a job which accounting believes to run.
        yield cause if cause in CAUSES else "unknown", life is not None and life.end is not None


def _is_completed(story: Story) -> bool:
    return story.end_reason == "completed" or (story.end_reason is None and story.exit_code == 0)


def _local_cause(story: Story) -> str:
    # Nobody but `cancel`, by way of the supervisor, sends a local worker SIGTERM.
    if story.end_reason == "terminated" or (story.end_reason is None and story.exit_code in _TERMINATED):
        return "cancelled"
    # An exit code above zero is the worker's own: it failed before its journal could say so.
    return "failure" if story.end_reason is None and (story.exit_code or 0) > 0 else "unknown"
