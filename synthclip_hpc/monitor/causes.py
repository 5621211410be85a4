"""Why attempts ended: from their journals first, from Slurm's accounting last, for those that vanished."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from slurm.accounting import AccountingSnapshot, ended_by
from synthclip_hpc.monitor.journals import Story

CAUSES = ("preemption", "timeout", "node_failure", "failure", "requeue", "cancelled", "unknown")

_FROM_JOURNAL = {"failed": "failure", "error": "failure", "gave_up": "failure"}


def explain(
    stories: Iterable[Story], running: set[str], ask: Callable[[Sequence[str]], AccountingSnapshot]
) -> tuple[Mapping[str, int], AccountingSnapshot | None]:
    """Count causes over all attempts that ended without finishing their share.

    `running` names the attempts that are alive. `ask` is called once at most, with the job ids of attempts whose end no
    journal explains: killed without a word, or ended by Slurm's SIGTERM, which does not say why it came.
    """
    counts: Counter[str] = Counter()
    vanished: list[Story] = []
    for story in stories:
        if story.role != "work" or story.name in running or story.end_reason == "completed":
            continue
        if story.end_reason in _FROM_JOURNAL:
            counts[_FROM_JOURNAL[story.end_reason]] += 1
        elif story.requeue_cause is not None:
            counts[story.requeue_cause] += 1
        elif story.job.isdigit():
            vanished.append(story)
        else:
            # Nobody but `cancel`, by way of the supervisor, sends a local worker SIGTERM.
            counts["cancelled" if story.end_reason == "terminated" else "unknown"] += 1
    if not vanished:
        return counts, None
    answer = ask(sorted({story.job for story in vanished}))
    lives: dict[str, list[Any]] = defaultdict(list)
    for row in answer.rows:
        lives[row.job_id].append(row)
    for story in vanished:
        rows = lives.get(story.element_id) or lives.get(story.job, [])
        state = rows[story.restart].state if story.restart < len(rows) else ""
        cause = ended_by(state) if state else "unknown"
        counts[cause if cause in CAUSES else "unknown"] += 1
    return counts, answer
