"""The files by which the nodes of a training find one another, and the word that tells ranks to stop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sharding.directory import PhaseDirectory
from synthclip_hpc.training.rounds import Outcome, RankError, Round, newest_round
from synthclip_hpc.training.stop_word import ENVIRONMENT, StopEar, StopWord


def error(rank: int, kind: str) -> RankError:
    return RankError(rank, kind, "ValueError", "ünusual", "Traceback")


def test_what_is_told_of_a_round_is_read_back(tmp_path):
    one = Round.of(PhaseDirectory(tmp_path), "7_0_0", 3)
    assert one.outcome() is None
    with pytest.raises(FileNotFoundError):
        one.invitation()
    one.invite("node-1.cluster", 29_500)
    assert one.invitation() == ("node-1.cluster", 29_500)
    one.end(Outcome("stopped", 12))
    assert one.outcome() == Outcome("stopped", 12)


def test_errors_that_explain_others_come_first(tmp_path):
    one = Round.of(PhaseDirectory(tmp_path), "7_0_0", 0)
    told = [error(0, "peer"), error(11, "own"), error(2, "own"), error(5, "user"), error(1, "peer")]
    for each in told:
        one.fail(each)
    (one.folder / ".error-3.json.tmp").write_text("{")
    assert [(each.kind, each.rank) for each in one.errors()] == [
        ("user", 5), ("own", 2), ("own", 11), ("peer", 0), ("peer", 1)
    ]  # fmt: skip
    assert one.errors()[0] == error(5, "user")


def test_those_that_have_come_are_known_by_name(tmp_path):
    one = Round.of(PhaseDirectory(tmp_path), "7_0_0", 0)
    one.invite("a", 1)
    one.come("n3")
    one.come("n1")
    one.come("n1")
    assert sorted(one.here()) == ["n1", "n3"]


def test_the_newest_round_is_that_of_the_same_attempt_with_an_invitation(tmp_path):
    directory = PhaseDirectory(tmp_path)
    assert newest_round(directory, "7_0_0") is None
    Round.of(directory, "7_0_0", 0).folder.mkdir(parents=True)
    assert newest_round(directory, "7_0_0") is None
    for attempt, number in [("7_0_0", 9), ("7_0_0", 10), ("7_0_1", 20), ("17_0_0", 30)]:
        Round.of(directory, attempt, number).invite("a", 1)
    Round.of(directory, "7_0_0", 11).folder.mkdir()
    assert newest_round(directory, "7_0_0") == 10


def test_rounds_beyond_three_digits_are_counted_on(tmp_path):
    for number in (999, 1000):
        Round.of(PhaseDirectory(tmp_path), "7_0_0", number).invite("a", 1)
    assert newest_round(PhaseDirectory(tmp_path), "7_0_0") == 1000


EAR = f"""
import os, sys
from synthclip_hpc.training.stop_word import StopEar
ear = StopEar(os.environ["{ENVIRONMENT}"])
for line in sys.stdin:
    print(ear.heard(), flush=True)
"""


def test_the_word_is_heard_by_processes_that_inherit_no_descriptor_and_after_the_worker_let_go():
    word = StopWord()
    environment = os.environ | {ENVIRONMENT: word.path}
    with subprocess.Popen(
        [sys.executable, "-c", EAR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        to, back = process.stdin, process.stdout
        assert to is not None and back is not None

        def ask() -> str:
            print(file=to, flush=True)
            return back.readline().strip()

        assert ask() == "False"
        word.give()
        assert ask() == "True"
        word.give()
        word.close()
        assert ask() == "True"
        to.close()


def test_a_word_leaves_no_descriptor_behind_on_either_side():
    before = len(os.listdir("/proc/self/fd"))
    word = StopWord()
    ear = StopEar(word.path)
    # The worker's own, and the one that an mmap of Python keeps.
    assert len(os.listdir("/proc/self/fd")) == before + 2
    assert not ear.heard()
    word.close()
    del ear
    assert len(os.listdir("/proc/self/fd")) == before
    assert not Path(word.path).exists()
