"""Why attempts ended: from their journals first, from Slurm's accounting last, for those that vanished."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from slurm.accounting import AccountingRow, AccountingSnapshot, ended_by, match_lives
from synthclip_hpc.monitor.journals import Story

CAUSES = ("preemption", "timeout", "node_failure", "failure", "requeue", "cancelled", "unknown")

_TERMINATED = (-15, 143)
"""Exit codes of a local worker after SIGTERM: before its handler was there, and after."""
_FROM_JOURNAL = {"failed": "failure", "error": "failure", "gave_up": "failure"}


def explain(
    stories: Iterable[Story], running: set[str], ask: Callable[[Sequence[str]], AccountingSnapshot]
) -> tuple[Mapping[str, int], AccountingSnapshot | None]:
    """Count causes over all attempts that ended without finishing their share.

    `running` names the attempts that are alive. `ask` is called once at most, with the job ids of attempts whose end no
    journal explains: killed without a word, or ended by Slurm's SIGTERM, which does not say why it came.
    """
    stories = list(stories)
    counts: Counter[str] = Counter()
    vanished: list[Story] = []
    for story in stories:
        if story.role != "work" or story.name in running or _is_completed(story):
            continue
        if story.end_reason in _FROM_JOURNAL:
            counts[_FROM_JOURNAL[story.end_reason]] += 1
        elif story.requeue_cause is not None:
            counts[story.requeue_cause] += 1
        elif story.job.isdigit():
            vanished.append(story)
        else:
            counts[_local_cause(story)] += 1
    if not vanished:
        return counts, None
    answer = ask(sorted({story.job for story in vanished}))
    counts.update(_from_accounting(vanished, stories, answer.rows))
    return counts, answer


def _from_accounting(
    vanished: Sequence[Story], stories: Sequence[Story], rows: Sequence[AccountingRow]
) -> Iterator[str]:
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
            yield "unknown"  # of a cluster that was rebuilt since: its records are gone
            continue
        element = story.element_id
        if element not in matched:
            mine = rows_of.get(element) or rows_of.get(story.job, [])
            matched[element] = match_lives(mine, starts[element], max(starts[element]) + 1)
        life = matched[element].get(story.restart)
        cause = ended_by(life.state) if life is not None else "unknown"
        yield cause if cause in CAUSES else "unknown"


def _is_completed(story: Story) -> bool:
    return story.end_reason == "completed" or (story.end_reason is None and story.exit_code == 0)


def _local_cause(story: Story) -> str:
    # Nobody but `cancel`, by way of the supervisor, sends a local worker SIGTERM.
    if story.end_reason == "terminated" or (story.end_reason is None and story.exit_code in _TERMINATED):
        return "cancelled"
    # An exit code above zero is the worker's own: it failed before its journal could say so.
    return "failure" if story.end_reason is None and (story.exit_code or 0) > 0 else "unknown"
