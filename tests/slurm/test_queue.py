from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from slurm.queue import QueuePoller, QueueRow, QueueSnapshot, read_queue

_LINES = """\
12_3|12|3|run.a|PENDING|JobArrayTaskLimit||N/A|N/A
12_0|12|0|run.a|RUNNING|None|n1|1795236704|1795236764
15|15|N/A|run.b|PENDING|Dependency||N/A|N/A
"""


def test_rows_are_read_with_elements_and_plain_jobs(fake_slurm):
    fake_slurm.answer("squeue", {"stdout": _LINES})
    snapshot = read_queue(["run.a", "run.b"])
    assert snapshot.error is None
    assert snapshot.rows == (
        QueueRow("12_3", "12", 3, "run.a", "PENDING", "JobArrayTaskLimit", "", None, None),
        QueueRow("12_0", "12", 0, "run.a", "RUNNING", "None", "n1", 1795236704.0, 1795236764.0),
        QueueRow("15", "15", None, "run.b", "PENDING", "Dependency", "", None, None),
    )


def test_one_call_asks_for_all_names_in_a_fixed_locale_and_without_the_users_defaults(fake_slurm, monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("SLURM_CONF", "/etc/here")
    read_queue(["run.a", "run.b"])
    [call] = fake_slurm.calls("squeue")
    assert call["argv"] == [
        "-r", "-h", "-o", "%i|%F|%K|%j|%T|%r|%N|%S|%e", "--name=run.a,run.b", f"--user={os.getuid()}",
    ]  # fmt: skip
    environment = call["env"]
    assert (environment["LC_ALL"], environment["SLURM_TIME_FORMAT"]) == ("C", "%s")
    assert environment["SLURM_CONF"] == "/etc/here"
    assert not [key for key in environment if key.startswith("SQUEUE_")]


def test_a_name_is_matched_exactly(fake_slurm):
    fake_slurm.answer("squeue", {"stdout": _LINES})
    assert [row.job_id for row in read_queue(["run.b"]).rows] == ["15"]


def test_an_empty_queue_is_no_error(fake_slurm):
    snapshot = read_queue(["run.a"])
    assert (snapshot.rows, snapshot.error) == ((), None)


def test_no_names_ask_nothing(fake_slurm):
    assert read_queue([]).rows == ()
    assert fake_slurm.calls("squeue") == []


@pytest.mark.parametrize("name", ["a,b", "a b", "", "a\n", "ä", "$(x)"])
def test_a_name_that_slurm_would_misread_is_refused(fake_slurm, name):
    with pytest.raises(ValueError, match="not valid"):
        read_queue([name])
    assert fake_slurm.calls("squeue") == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            {"exit": 1, "stderr": "slurm_load_jobs error: Unable to contact\nslurm controller"},
            "Unable to contact slurm",
        ),
        ({"exit": 1}, "exit status 1"),
        ({"stdout": "please\nlog in"}, "cannot be understood: 'please'"),
        ({"stdout": "1|2|3\n"}, "cannot be understood"),
        ({"stdout": "JOBID|2|3|a|b|c|d|e|f\n"}, "cannot be understood"),
        ({"sleep_s": 60}, "did not answer within 0.3 s"),
    ],
)
def test_trouble_is_an_error_text_and_never_an_exception(fake_slurm, answer, words):
    fake_slurm.answer("squeue", answer)
    snapshot = read_queue(["run.a"], timeout_s=0.3)
    assert snapshot.rows == ()
    assert snapshot.error is not None
    assert words in snapshot.error


def test_a_missing_squeue_is_an_error_text(fake_slurm):
    fake_slurm.remove("squeue")
    assert read_queue(["run.a"]).error == "squeue is not on the PATH"


def test_a_squeue_that_cannot_be_run_is_an_error_text(fake_slurm):
    (fake_slurm.programs / "squeue").write_bytes(b"\x00\x01")
    error = read_queue(["run.a"]).error
    assert error is not None
    assert "squeue cannot be run" in error


class _Queue:
    """A queue whose answers take a settable time on a clock that only moves by them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.takes_s = 0.0
        self.error: str | None = None
        self.asked = 0

    def clock(self) -> float:
        return self.now

    def read(self, names: Sequence[str]) -> QueueSnapshot:
        self.asked += 1
        self.now += self.takes_s
        rows = () if self.error else (QueueRow(str(self.asked), "1", None, names[0], "RUNNING", "", "n1", None, None),)
        return QueueSnapshot(rows, self.now, self.error)


def test_the_poller_asks_not_more_often_than_every_15_seconds():
    queue = _Queue()
    poller = QueuePoller(["a"], queue.read, queue.clock)
    first = poller.poll()
    queue.now += 14.9
    assert poller.poll() is first
    queue.now += 0.2
    assert poller.poll().rows[0].job_id == "2"
    assert queue.asked == 2


def test_the_poller_waits_five_times_as_long_as_the_last_answer_took():
    queue = _Queue()
    queue.takes_s = 8.0
    poller = QueuePoller(["a"], queue.read, queue.clock)
    poller.poll()
    queue.now += 39.9
    poller.poll()
    assert queue.asked == 1
    queue.now += 0.2
    poller.poll()
    assert queue.asked == 2


def test_the_poller_keeps_the_last_rows_and_backs_off_while_slurm_is_in_trouble():
    queue = _Queue()
    poller = QueuePoller(["a"], queue.read, queue.clock)
    good = poller.poll()
    queue.error = "down"
    waits = []
    for _ in range(7):
        queue.now += poller.interval_s
        snapshot = poller.poll()
        waits.append(poller.interval_s)
    assert (snapshot.rows, snapshot.taken_at, snapshot.error) == (good.rows, good.taken_at, "down")
    assert waits == [30, 60, 120, 240, 300, 300, 300]
    queue.error = None
    queue.now += poller.interval_s
    assert poller.poll().error is None
    assert poller.interval_s == 15
    assert queue.asked == 9


def test_the_poller_shows_an_error_from_the_very_first_query():
    queue = _Queue()
    queue.error = "down"
    snapshot = QueuePoller(["a"], queue.read, queue.clock).poll()
    assert (snapshot.rows, snapshot.error) == ((), "down")
