"""The loader's processes and threads: none is missed, none stays, and none heeds a signal that is not for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.synthclip_hpc.training import test_loader
from tests.synthclip_hpc.training.data_sets import make_data_set
from tests.synthclip_hpc.training.test_loader import loader

pytestmark = [pytest.mark.engines, pytest.mark.timeout(60)]
ENDLESS = range(100_000)
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    test_loader.tokenizer()
    return make_data_set(tmp_path_factory.mktemp("data") / "dataset", {"render": [20, 9, 13]})


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def status_of(pid, field):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(field))


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("taken", [0, 1])
def test_closing_leaves_no_process_and_no_thread(folder, workers, taken):
    threads = set(threading.enumerate())
    with loader(folder, ENDLESS, workers=workers) as opened:
        assert len(opened.pids) == workers
        for _ in range(taken):
            assert opened.next_batch() is not None
        until(lambda: opened._ahead.wait(0))  # its queue is full
    assert not any(is_there(pid) for pid in opened.pids)
    assert set(threading.enumerate()) == threads


def test_a_killed_process_is_told(folder):
    with loader(folder, ENDLESS, workers=2) as opened:
        assert opened.next_batch() is not None
        os.kill(opened.pids[1], signal.SIGKILL)
        with pytest.raises(RuntimeError, match=rf"loader worker 1 \(pid {opened.pids[1]}\) died: killed by SIGKILL"):
            list(opened)
        until(lambda: not is_there(opened.pids[0]))


def test_stop_signals_do_not_end_the_processes(folder):
    with loader(folder, ENDLESS, workers=2) as opened:
        for pid in opened.pids:
            until(lambda pid=pid: all(int(status_of(pid, "SigIgn"), 16) >> (one - 1) & 1 for one in STOPS))
            for one in STOPS:
                os.kill(pid, one)
        for step in range(20):
            batch = opened.next_batch()
            assert batch is not None and batch.step == step
        assert all(is_there(pid) for pid in opened.pids)


def test_signals_are_blocked_while_processes_are_forked_and_no_longer(folder, monkeypatch):
    from multiprocessing.context import ForkProcess

    seen, start = [], ForkProcess.start

    def watched(process):
        seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        start(process)

    monkeypatch.setattr(ForkProcess, "start", watched)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with loader(folder, ENDLESS, workers=2):
        assert len(seen) == 2 and all(set(STOPS) <= mask for mask in seen)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_stop_is_seen_while_waiting_and_loses_no_batch(folder):
    with loader(folder, ENDLESS, workers=1) as opened:
        os.kill(opened.pids[0], signal.SIGSTOP)
        answers, step = iter([False] * 12 + [True]), 0
        while (batch := opened.next_batch(lambda: next(answers))) is not None:
            assert batch.step == step
            step += 1
        os.kill(opened.pids[0], signal.SIGCONT)
        again = opened.next_batch()
        assert again is not None and again.step == step
        assert opened.next_batch(lambda: True) is None


RANK = """
import sys, time
from pathlib import Path
from tests.synthclip_hpc.training.test_loader import loader
opened = loader(Path(sys.argv[1]), range(100_000), workers=2)
opened.next_batch()
print(*opened.pids, flush=True)
{then}
"""


def rank(folder, then):
    code = RANK.format(then=then)
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def test_processes_die_with_a_rank_that_is_killed(folder):
    with rank(folder, "time.sleep(60)") as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2 and all(is_there(pid) for pid in pids)
        process.kill()
    until(lambda: not any(is_running(pid) for pid in pids))


def test_a_program_that_forgets_to_close_ends_all_the_same(folder):
    with rank(folder, "") as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert process.wait(30) == 0
    assert not any(is_running(pid) for pid in pids)


def is_running(pid):
    # In a container nobody may wait for orphans: a zombie is dead enough.
    return is_there(pid) and not status_of(pid, "State").startswith("Z")


def test_an_error_in_a_process_arrives_with_its_traceback(folder, monkeypatch):
    def broken(*arguments):
        raise KeyError("no such thing")

    monkeypatch.setattr("synthclip_hpc.training.data.samples.Preparing.fill", broken)
    with loader(folder, ENDLESS, workers=2) as opened, pytest.raises(RuntimeError) as error:
        opened.next_batch()
    assert "KeyError('no such thing') in a loader process" in str(error.value)
    assert "in broken" in str(error.value)
