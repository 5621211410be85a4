"""When an element that was interrupted again and again gives up: on evidence only, each life counted once."""

from __future__ import annotations

import json
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from sharding.journal import read_events
from slurm.attempt import Attempt
from synthclip_hpc import requeueing
from tests.synthclip_hpc.test_slurm_submission import SMALL

NOT_ANSWERING = {"exit": 1, "stderr": "slurmdbd: Connection refused"}


@pytest.fixture
def slept(monkeypatch):
    """How long it would have waited before asking, each time."""
    spans: list[float] = []
    # Not in the module `time` itself: a thread that another test left behind sleeps too.
    monkeypatch.setattr("synthclip_hpc.requeueing.time", SimpleNamespace(sleep=spans.append, time=time.time))
    return spans


@pytest.fixture
def start(app, fake_slurm, slept):
    """Start life `restart` of element 101_1 under these limits; return the count it gave up at, None if it starts."""

    def at(restart: int, *limits: str) -> dict | None:
        if not app.path.exists():
            assert app("submit", *SMALL, "slurm.elements=2", *limits).code == 0
        attempt = Attempt("101", 1, restart, "n1")
        try:
            requeueing.may_start(app.run, app.submissions()[0], attempt)
        except SystemExit as end:
            assert end.code == 1
            lines = app.run.phase("captions", "write").journal_path(attempt.name).read_text().splitlines()
            event = json.loads(lines[-1])
            assert event["event"] == "gave_up"
            return {event["cause"]: event["count"]}
        return None

    return at


@pytest.fixture
def life(app):
    """Write the journal of a life: it began at 1000 + 100 * restart."""

    def write(restart: int, *events: dict, index: int = 1, submission: str = "00001-captions") -> None:
        path = app.run.phase("captions", "write").journal_path(f"101_{index}_{restart}")
        path.parent.mkdir(parents=True, exist_ok=True)
        begin = {"event": "start", "time": 1001 + 100 * restart, "submission": submission}
        with path.open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in (begin, *events))

    return write


def records(*states: str, missing: frozenset[int] = frozenset()) -> dict:
    """What sacct says: one line a life, the last one of the life that runs."""
    lines = [
        f"101_1|{state}|{1000 + 100 * n}|{1090 + 100 * n if state != 'RUNNING' else 'Unknown'}|n1|0:0\n"
        for n, state in enumerate((*states, "RUNNING"))
        if n not in missing
    ]
    return {"stdout": "".join(lines)}


def requeued(cause: str) -> dict:
    return {"event": "requeue", "time": 1050, "cause": cause}


def test_no_answer_from_accounting_is_no_evidence(start, fake_slurm):
    fake_slurm.answer("sacct", NOT_ANSWERING)
    assert start(21) is None
    assert len(fake_slurm.calls("sacct")) == 1


def test_what_the_journals_say_counts_without_accounting(start, life, fake_slurm):
    fake_slurm.answer("sacct", NOT_ANSWERING)
    assert start(0, "retries.preemptions=2") is None
    for restart in range(3):
        life(restart, requeued("preemption"))
    assert start(3) == {"preemption": 3}


def test_a_life_that_its_journal_explains_is_not_counted_again_from_accounting(start, life, fake_slurm):
    assert start(0, "retries.preemptions=30") is None
    for restart in range(52):
        life(restart, *([requeued("timeout")] if restart % 13 < 10 else []))
    # Slurm's word is the same for the 40 time-outs that the element requeued itself and for the 12 preemptions.
    fake_slurm.answer("sacct", records(*["REQUEUED"] * 52))
    assert start(52) is None
    assert len(fake_slurm.calls("sacct")) == 1


@pytest.mark.parametrize(
    ("states", "cause"),
    [("PREEMPTED", "preemption"), ("NODE_FAIL", "node_failure"), ("REQUEUED", "preemption"), ("CANCELLED", "unknown")],
)
def test_lives_without_a_word_count_by_what_slurm_says_of_them(start, fake_slurm, states, cause):
    limits = ("retries.preemptions=4", "retries.node_failures=4", "retries.unknown=4")
    fake_slurm.answer("sacct", records(*[states] * 5))
    assert start(4, *limits) is None
    assert fake_slurm.calls("sacct") == []
    assert start(5) == {cause: 5}


def test_a_life_without_a_record_is_unknown_and_shifts_none_of_the_others(start, life, fake_slurm):
    limits = ("retries.preemptions=1", "retries.node_failures=2", "retries.unknown=1")
    assert start(0, *limits) is None
    states = ["PREEMPTED", "TIMEOUT", "NODE_FAIL", "NODE_FAIL", "NODE_FAIL"]
    life(0)
    # Restart 1 never reached its worker, and Slurm has no record of it.
    for restart in (2, 3, 4):
        life(restart)
    fake_slurm.answer("sacct", records(*states, missing=frozenset({1})))
    assert start(5) == {"node_failure": 3}


def test_accounting_is_asked_only_past_a_limit_with_a_jitter_and_not_since_forever(start, slept, app, fake_slurm):
    fake_slurm.answer("sacct", records(*["PREEMPTED"] * 11))
    assert start(10) is None  # 10 node failures are allowed
    assert (slept, fake_slurm.calls("sacct")) == ([], [])
    assert start(11) is None
    [jitter_s] = slept
    assert 0 <= jitter_s <= requeueing.JITTER_S
    [arguments] = fake_slurm.arguments("sacct")
    since = app.submissions()[0].record["created"] - 3600
    assert arguments[arguments.index("-S") + 1] == time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
    assert arguments[arguments.index("-j") + 1] == "101_1"


def test_only_the_elements_own_earlier_journals_are_opened(start, app, life, monkeypatch):
    assert start(0) is None
    for restart in range(3):
        life(restart, requeued("preemption"))
        life(restart, requeued("preemption"), index=0)
        life(restart, requeued("preemption"), index=11)
    opened = []

    def spy(path):
        opened.append(path.stem)
        return read_events(path)

    monkeypatch.setattr(requeueing, "read_events", spy)
    causes = requeueing.own_causes(app.run, app.submissions()[0], Attempt("101", 1, 2, "n1"))
    assert causes == Counter(preemption=2)
    assert sorted(opened) == ["101_1_0", "101_1_1"]


def test_what_stands_in_a_journal_from_another_submission_is_not_counted(start, app, life):
    assert start(0) is None
    life(0, requeued("preemption"), submission="00007-captions")
    life(1, requeued("preemption"), submission="00007-captions")
    life(1, requeued("timeout"))
    assert requeueing.own_causes(app.run, app.submissions()[0], Attempt("101", 1, 2, "n1")) == Counter(timeout=1)
