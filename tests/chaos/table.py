"""One table a campaign, for the terminal and for the record."""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.chaos.verdict import Verdict

_HEAD = ("run", "fault", "done", "attempts hit", "Slurm's word", "counted as", "cut off", "same bytes")


def table(verdicts: list[Verdict]) -> str:
    """A Markdown table: a line a run and fault, and below it a line a run with its sums."""
    rows = [_HEAD, tuple("---" for _ in _HEAD)]
    for verdict in verdicts:
        same = "yes" if verdict.same else "NO"
        rows += [(verdict.name, *cells, same) for cells in _faults(verdict)]
    sums = [_sum(verdict) for verdict in verdicts]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n\n" + "\n".join(f"- {line}" for line in sums)


def _faults(verdict: Verdict) -> list[tuple[str, ...]]:
    by_fault = defaultdict(list)
    for injection in verdict.injections:
        by_fault[injection.fault].append(injection)
    told = {ending.attempt: ending for ending in verdict.endings}
    rows: list[tuple[str, ...]] = []
    for fault, injections in sorted(by_fault.items()):
        hit = [name for injection in injections for name in injection.attempts]
        words = Counter(told[name].word for name in hit if name in told)
        causes = Counter(told[name].cause or "completed" for name in hit if name in told)
        cut = sum(verdict.work.cut_off.get(name, 0.0) for name in hit)
        rows.append((fault, str(len(injections)), str(len(hit)), _list(words), _list(causes), f"{cut:.0f}"))
    return rows


def _sum(verdict: Verdict) -> str:
    work = verdict.work
    kept = "all promises kept" if not verdict.problems else f"{len(verdict.problems)} BREACHES"
    worst = max(work.cut_off.values(), default=0.0)
    causes = _list(Counter({cause: count for cause, count in verdict.status.items() if count}))
    notes = "".join(f"; {note}" for note in verdict.notes)
    return (
        f"{verdict.name}: {verdict.attempts} attempts; {work.made} {work.unit} made, {work.made_twice} of them twice "
        f"({work.made_twice_overlapping} more by overlapping attempts); at most {worst:.0f} {work.unit} cut off "
        f"by one kill; status ({verdict.samples} answers) counted {causes or 'nothing'}; {kept}{notes}"
    )


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "-"
