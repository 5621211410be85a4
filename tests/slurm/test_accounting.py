from __future__ import annotations

import time

import pytest

from slurm.accounting import AccountingRow, ended_by, read_accounting

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
