from __future__ import annotations

import time

import pytest

from slurm.accounting import (
    AccountingPoller,
    AccountingRow,
    AccountingSnapshot,
    ended_by,
    match_lives,
    read_accounting,
)

_LINES = """\
12_0|RUNNING|1795236800|Unknown|n2|0:0
12_0|PREEMPTED|1795236704|1795236708|n1|0:0
12_1|CANCELLED by 1000|1795236705|1795236710|n1|0:15
12_[2-9%4]|PENDING|Unknown|Unknown|None assigned|0:0
"""


def test_all_lives_of_an_element_are_read_in_order_of_start(fake_slurm):
    fake_slurm.answer("sacct", {"stdout": _LINES})
    snapshot = read_accounting(["12"])
    assert snapshot.error is None
    assert snapshot.rows == (
        AccountingRow("12_0", "PREEMPTED", 1795236704.0, 1795236708.0, "n1", "0:0"),
        AccountingRow("12_1", "CANCELLED", 1795236705.0, 1795236710.0, "n1", "0:15"),
        AccountingRow("12_0", "RUNNING", 1795236800.0, None, "n2", "0:0"),
    )
    assert [row.state for row in snapshot.of("12_0")] == ["PREEMPTED", "RUNNING"]


def test_one_call_asks_for_all_jobs_without_the_users_defaults(fake_slurm, monkeypatch):
    monkeypatch.setenv("SACCT_FORMAT", "JobID")
    since = 1795236704.0
    read_accounting(["12", "13"], since=since)
    [call] = fake_slurm.calls("sacct")
    local = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
    assert call["argv"] == [
        "-D", "-X", "-n", "-P", "-o", "JobID,State,Start,End,NodeList,ExitCode", "-j", "12,13", "-S", local,
    ]  # fmt: skip
    assert "SACCT_FORMAT" not in call["env"]
    assert call["env"]["SLURM_TIME_FORMAT"] == "%s"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"exit": 1, "stderr": "Slurm accounting storage is disabled"}, "accounting storage is disabled"),
        ({"stdout": "hello\n"}, "cannot be understood"),
        ({"stdout": "12||||||\n"}, "cannot be understood"),
        ({"stdout": "12||1|1|n1|0:0\n"}, "cannot be understood"),
        ({"sleep_s": 60}, "did not answer"),
    ],
)
def test_trouble_is_an_error_text_and_never_an_exception(fake_slurm, answer, words):
    fake_slurm.answer("sacct", answer)
    snapshot = read_accounting(["12"], timeout_s=0.3)
    assert snapshot.rows == ()
    assert snapshot.error is not None
    assert words in snapshot.error


def test_a_missing_sacct_is_an_error_text(fake_slurm):
    fake_slurm.remove("sacct")
    assert read_accounting(["12"]).error == "sacct is not on the PATH"


def test_no_jobs_ask_nothing_and_a_wrong_id_is_refused(fake_slurm):
    assert read_accounting([]).error is None
    for wrong in ("12;rm", "--all", "12_", ""):
        with pytest.raises(ValueError, match="not valid"):
            read_accounting([wrong])
    assert fake_slurm.calls("sacct") == []


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("PREEMPTED", "preemption"),
        ("TIMEOUT", "timeout"),
        ("NODE_FAIL", "node_failure"),
        ("REQUEUED", "requeue"),
        ("CANCELLED by 1000", "cancelled"),
        ("CANCELLED+", "cancelled"),
        ("FAILED", "failure"),
        ("OUT_OF_MEMORY", "failure"),
        ("COMPLETED", "completed"),
        ("RUNNING", "unknown"),
        ("QUANTUM_LOSS", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_state_tells_the_cause(state, cause):
    assert ended_by(state) == cause


class _Accounting:
    """Accounting whose answers take a settable time on a clock that only moves by them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.takes_s = 0.0
        self.error: str | None = None
        self.asked: list[tuple[list[str], float | None]] = []
        self.poller = AccountingPoller(self.read, lambda: self.now)

    def read(self, job_ids: list[str], since: float | None = None) -> AccountingSnapshot:
        self.asked.append((job_ids, since))
        self.now += self.takes_s
        rows = () if self.error else (AccountingRow("1_0", "PREEMPTED", 1.0, 2.0, "n1", "0:0"),)
        return AccountingSnapshot(rows, self.now, self.error)


def test_the_poller_asks_for_all_jobs_at_once_and_not_more_often_than_every_30_seconds():
    accounting = _Accounting()
    first = accounting.poller.poll(["1"], ["2", "3"], since=77.0)
    accounting.now += 29.9
    assert accounting.poller.poll(["2"]) is first
    accounting.now += 0.2
    accounting.poller.poll(["2"], since=77.0)
    assert accounting.asked == [(["1", "2", "3"], 77.0), (["1", "2", "3"], 77.0)]


def test_the_poller_waits_five_times_as_long_as_accounting_took():
    accounting = _Accounting()
    accounting.takes_s = 9.0
    accounting.poller.poll(["1"])
    accounting.now += 44.9
    accounting.poller.poll(["1"])
    assert len(accounting.asked) == 1
    accounting.now += 0.2
    accounting.poller.poll(["1"])
    assert len(accounting.asked) == 2


def test_a_job_never_asked_for_is_asked_for_at_once_unless_accounting_is_in_trouble():
    accounting = _Accounting()
    accounting.poller.poll(["1"])
    accounting.poller.poll(["4"])
    assert [jobs for jobs, _ in accounting.asked] == [["1"], ["1", "4"]]
    accounting.error = "down"
    accounting.poller.poll(["5"])
    accounting.poller.poll(["6"])
    assert len(accounting.asked) == 3


def test_the_poller_keeps_the_last_rows_and_backs_off_while_accounting_is_in_trouble():
    accounting = _Accounting()
    poller = accounting.poller
    good = poller.poll(["1"])
    accounting.error = "down"
    waits = []
    for _ in range(5):
        accounting.now += poller.interval_s
        snapshot = poller.poll(["1"])
        waits.append(poller.interval_s)
    assert (snapshot.rows, snapshot.taken_at, snapshot.error) == (good.rows, good.taken_at, "down")
    assert waits == [60, 120, 240, 300, 300]
    accounting.error = None
    accounting.now += poller.interval_s
    assert poller.poll(["1"]).error is None
    assert poller.interval_s == 30


def _lives(*starts: float | None) -> list[AccountingRow]:
    return [AccountingRow("1_0", f"S{n}", start, None, "n1", "0:0") for n, start in enumerate(starts)]


@pytest.mark.parametrize(
    ("records", "starts", "num_lives", "expected"),
    [
        ((100.0, 200.0, 300.0), {0: None, 2: None}, 3, {0: "S0", 2: "S2"}),
        # One record is missing: time tells.
        ((100.0, 300.0), {0: 101.0, 2: 301.0}, 3, {0: "S0", 2: "S1"}),
        # What no other life has claimed goes to those whose start nobody knows.
        ((100.0, 200.0, 300.0), {0: 101.0, 1: None, 2: 301.0, 3: None}, 4, {0: "S0", 1: "S1", 2: "S2"}),
        ((), {0: 101.0, 1: None}, 2, {}),
        ((500.0, None), {0: 101.0, 1: 102.0}, 2, {}),
    ],
)
def test_each_life_gets_its_own_record(records, starts, num_lives, expected):
    found = match_lives(_lives(*records), starts, num_lives)
    assert {restart: row.state for restart, row in found.items()} == expected
