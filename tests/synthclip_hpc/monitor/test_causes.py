"""Why attempts ended, as accounting comes to know it."""

from __future__ import annotations

from collections.abc import Sequence

from slurm.accounting import AccountingRow, AccountingSnapshot
from synthclip_hpc.monitor.causes import ASK_FOR_S, Causes
from synthclip_hpc.monitor.story import Story

NOW = 1_000_000.0


class Accounting:
    """Answers with its rows, and counts how often it was asked."""

    def __init__(self) -> None:
        self.rows: tuple[AccountingRow, ...] = ()
        self.asked = 0

    def __call__(self, jobs: Sequence[str]) -> AccountingSnapshot:
        self.asked += 1
        return AccountingSnapshot(self.rows, NOW, None)


def row(state: str, *, end: float | None) -> AccountingRow:
    return AccountingRow("7_0", state, NOW - 9000, end, "n1", "0:0")


def long_silent() -> Story:
    return Story("7_0_0", started=NOW - 9000, heard=NOW - 8000)


def test_an_attempt_that_was_silent_for_long_before_it_vanished_gets_its_cause_when_accounting_has_it() -> None:
    causes, accounting = Causes(), Accounting()
    accounting.rows = (row("RUNNING", end=None),)
    assert causes.explain([long_silent()], set(), accounting, NOW) == {"7_0_0": "unknown"}
    accounting.rows = (row("NODE_FAIL", end=NOW),)
    assert causes.explain([long_silent()], set(), accounting, NOW + 60) == {"7_0_0": "node_failure"}
    assert causes.explain([long_silent()], set(), accounting, NOW + 120) == {"7_0_0": "node_failure"}
    assert accounting.asked == 2


def test_a_state_is_not_the_last_word_before_the_record_has_an_end() -> None:
    causes, accounting = Causes(), Accounting()
    accounting.rows = (row("REQUEUED", end=None),)
    assert causes.explain([long_silent()], set(), accounting, NOW) == {"7_0_0": "requeue"}
    accounting.rows = (row("PREEMPTED", end=NOW),)
    assert causes.explain([long_silent()], set(), accounting, NOW + 60) == {"7_0_0": "preemption"}


def test_what_accounting_never_tells_is_asked_for_an_hour_after_it_was_first_seen_to_be_gone() -> None:
    causes, accounting = Causes(), Accounting()
    for at in (0.0, 600.0, ASK_FOR_S + 1, ASK_FOR_S + 600):
        assert causes.explain([long_silent()], set(), accounting, NOW + at) == {"7_0_0": "unknown"}
    assert accounting.asked == 3


def test_an_attempt_that_was_taken_for_gone_and_runs_after_all_has_its_hour_anew() -> None:
    causes, accounting = Causes(), Accounting()
    causes.explain([long_silent()], set(), accounting, NOW)
    causes.explain([long_silent()], {"7_0_0"}, accounting, NOW + 60)
    for at in (5 * ASK_FOR_S, 5 * ASK_FOR_S + 60):
        causes.explain([long_silent()], set(), accounting, NOW + at)
    assert accounting.asked == 3
