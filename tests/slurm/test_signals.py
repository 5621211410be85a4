"""Real signals to real processes. Each program says what it sees on its standard output."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm.signals import StopFlag, Stopped

_ROOT = Path(__file__).parents[2]
_HEAD = """\
import os, signal, sys, time
from slurm.signals import StopFlag, Stopped, wait_to_be_killed
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever a nohup around the tests has set
flag = StopFlag()
flag.install()
def say(*words):
    print(*words, flush=True)
def wait_for_flag():
    until = time.monotonic() + 20
    while not flag and time.monotonic() < until:
        time.sleep(0.01)
say("ready")
"""


class Program:
    def __init__(self, text: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HEAD + text], cwd=_ROOT, stdout=subprocess.PIPE, text=True
        )
        self.expect("ready")

    def expect(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == line

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        return self.process.wait(timeout=20)


@pytest.fixture
def program():
    started: list[Program] = []

    def start(text: str) -> Program:
        started.append(Program(text))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()
        assert each.process.stdout is not None
        each.process.stdout.close()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGUSR1, "notice"),
        (signal.SIGUSR2, "notice"),
        (signal.SIGTERM, "terminate"),
        (signal.SIGINT, "terminate"),
    ],
)
def test_a_signal_sets_the_flag_and_the_safe_point_stops(program, number, reason):
    child = program("""
wait_for_flag()
say(flag.reason, flag.signal_name, time.time() - flag.received_at < 20)
try:
    flag.check()
except Stopped as stopped:
    say("stopped", stopped.reason)
""")
    child.send(number)
    child.expect(f"{reason} {number.name} True")
    child.expect(f"stopped {reason}")
    assert child.end() == 0


def test_slurms_double_term_is_one_signal(program):
    child = program("wait_for_flag(); time.sleep(0.3); say(flag.reason)")
    child.send(signal.SIGTERM)
    child.send(signal.SIGCONT)
    child.send(signal.SIGTERM)
    child.expect("terminate")
    assert child.end() == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGUSR2])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_demand_ends_the_process_at_once(program, first, second):
    # The first is made old by moving the clock: what counts is the second between the two.
    child = program("wait_for_flag(); flag._first_at -= 1.5; say('again'); time.sleep(60)")
    child.send(first)
    child.expect("again")
    child.send(second)
    assert child.end() == 128 + second


def test_a_repeated_notice_does_not_end_the_process(program):
    child = program("""
wait_for_flag()
flag._first_at -= 60
say("again")
while flag.reason == "notice":
    time.sleep(0.01)
say(flag.reason)
""")
    child.send(signal.SIGUSR2)
    child.expect("again")
    child.send(signal.SIGUSR1)
    child.send(signal.SIGUSR2)
    time.sleep(0.2)
    assert child.process.poll() is None
    child.send(signal.SIGTERM)
    assert child.end() == 128 + signal.SIGTERM


def test_a_demand_right_after_a_notice_is_the_reason(program):
    child = program("""
while flag.reason != "terminate":
    time.sleep(0.01)
say(flag.signal_name)
""")
    child.send(signal.SIGUSR2)
    child.send(signal.SIGTERM)
    child.expect("SIGTERM")
    assert child.end() == 0


def test_continue_and_hangup_are_left_as_they_are(program):
    child = program("""
say(signal.getsignal(signal.SIGCONT) == signal.SIG_DFL, signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)
time.sleep(60)
""")
    child.expect("True True")
    child.send(signal.SIGHUP)
    assert child.end() == -signal.SIGHUP


def test_a_sleep_ends_soon_after_the_signal_and_not_before_its_time_without_one(program):
    child = program("""
start = time.monotonic()
flag.sleep(0.3)
say(time.monotonic() - start >= 0.3, bool(flag))
flag.sleep(3600)
say("awake", flag.reason)
""")
    child.expect("True False")
    child.send(signal.SIGUSR1)
    child.expect("awake notice")
    assert child.end() == 0


def test_the_death_of_the_launcher_is_noticed(tmp_path):
    out = tmp_path / "out"
    worker = (
        _HEAD
        + f"""
flag.sleep(20)
with open({str(out)!r} + ".tmp", "w") as file:
    file.write(f"{{flag.reason}} {{flag.signal_name}}")
os.replace({str(out)!r} + ".tmp", {str(out)!r})
"""
    )
    launcher = f"""
import subprocess, sys
process = subprocess.Popen([sys.executable, "-c", {worker!r}], stdout=subprocess.PIPE, text=True)
process.stdout.readline()
"""
    subprocess.run([sys.executable, "-c", launcher], cwd=_ROOT, check=True)
    until = time.monotonic() + 20
    while not out.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert out.read_text() == "orphaned None"


def test_a_launcher_that_died_before_the_worker_looked_is_noticed_by_its_number(program):
    child = program("flag.install(parent_pid=2**22 + 1); say(flag.reason)")
    child.expect("orphaned")
    assert child.end() == 0


def test_a_forked_child_is_not_an_orphan(program):
    child = program("""
if os.fork() == 0:
    say(flag.reason)
    os._exit(0)
os.wait()
""")
    child.expect("None")
    assert child.end() == 0


def test_waiting_to_be_killed_ends_with_the_kill(program):
    child = program("wait_for_flag(); say('waiting'); wait_to_be_killed(600); say('survived')")
    child.send(signal.SIGTERM)
    child.expect("waiting")
    child.send(signal.SIGKILL)
    assert child.end() == -signal.SIGKILL


def test_waiting_to_be_killed_has_a_limit(program):
    child = program("wait_to_be_killed(0.2); say('survived')")
    child.expect("survived")
    assert child.end() == 0


def test_without_a_signal_nothing_is_set():
    flag = StopFlag()
    assert (bool(flag), flag.reason, flag.signal_name, flag.received_at) == (False, None, None, None)
    flag.check()


def test_stopped_tells_the_reason():
    flag = StopFlag()
    flag._handle(signal.SIGUSR1, None)
    with pytest.raises(Stopped, match="notice") as caught:
        flag.check()
    assert caught.value.reason == "notice"
