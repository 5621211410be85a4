"""The bill: hours, attempts, what interrupted them, and what of the work had to be done again."""

from __future__ import annotations

from collections import Counter

from synthclip_hpc.monitor.notes import duration
from synthclip_hpc.monitor.snapshot import Snapshot, StageStatus
from synthclip_hpc.reporting.bill import StageBill
from synthclip_hpc.reporting.blocks import MISSING, Figure, Figures, Row, Section, Table, Value

_WORDS = {
    "preemption": "preempted",
    "timeout": "time limit",
    "node_failure": "node lost",
    "failure": "own error",
    "requeue": "requeued",
}
"""Causes that have plainer words than their names."""


def bill_section(bills: list[StageBill], snapshot: Snapshot) -> Section | None:
    """Return the section; None when nothing has started."""
    if not bills:
        return None
    states = {stage.name: stage for stage in snapshot.stages}
    gpu_hours, cpu_hours = (sum(getattr(bill, key) for bill in bills) for key in ("gpu_hours", "cpu_hours"))
    early = sum(interruptions(states[bill.stage]).total() for bill in bills if bill.stage in states)
    again = sum(bill.redone_share * bill.cpu_hours for bill in bills)
    starting = sum(bill.startup_share * bill.cpu_hours for bill in bills)
    whole = cpu_hours or 1.0
    items = (
        Figure(_hours(gpu_hours), "GPU hours"),
        Figure(_hours(cpu_hours), "CPU core hours"),
        Figure(f"{early:,}", "attempts ended early", f"of {sum(bill.attempts for bill in bills):,}"),
        Figure(f"{again / whole:.1%}", "of the hours: work done again", f"starting up: {starting / whole:.1%}"),
    )
    rows = []
    for bill in bills:
        state = states.get(bill.stage)
        used = MISSING if bill.gpu_utilisation is None else f"{bill.gpu_utilisation:.0f} %"
        rows.append(
            Row(
                (
                    Value(bill.stage),
                    Value(_told(state)),
                    Value(f"{bill.attempts:,}"),
                    Value(duration(bill.wall_s)),
                    Value(_hours(bill.cpu_hours)),
                    Value(_hours(bill.gpu_hours)),
                    Value(used),
                    Value(f"{bill.startup_share:.1%}"),
                    Value(f"{bill.redone_share:.1%}"),
                )
            )
        )
    head = ("Stage", "Ended early", "Attempts", "Time", "CPU hours", "GPU hours", "GPU used", "Starting", "Done again")
    note = (
        "From the journals of all attempts. Time: from the first start to the last word of each phase, with pauses. "
        "Hours: cores and GPUs while an attempt held them. Starting: the part of them before the first item could be "
        "made. Done again: the part of the hours in which items, or steps, "
        "were made that an interrupted attempt had made before; work that was lost unreported is not in it."
    )
    table = Table("bill", "By stage", head, tuple(rows), num_text_columns=2, note=note)
    return Section("bill", "What it cost", (Figures(items), table))


def interruptions(state: StageStatus) -> Counter[str]:
    """Count the attempts of a stage that ended before their work was done, by cause."""
    return Counter(life.cause for phase in state.phases for life in phase.lives if life.cause)


def _told(state: StageStatus | None) -> str:
    if state is None:
        return MISSING
    counts = interruptions(state).most_common()
    return ", ".join(f"{count:,} {_WORDS.get(cause, cause.replace('_', ' '))}" for cause, count in counts) or "none"


def _hours(hours: float) -> str:
    if hours == 0:
        return "0"
    if hours >= 100:
        return f"{hours:,.0f}"
    return f"{hours:.2f}" if hours >= 0.01 else f"{hours:.4f}"
