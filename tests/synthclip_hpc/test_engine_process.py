"""Engines in processes of their own: what they answer, what they see, how they end, and what they leave (nothing).

The functions `open_…` are engines for those processes, which import them by name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synthclip_hpc.captioning.engines import engine_process
from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.engines.engine_process import (
    EngineDied,
    EngineProcess,
    engines_side_by_side,
    visible_gpus,
)
from synthclip_hpc.config import CaptionsConfig, VllmConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.processes import identify, is_alive
from synthclip_hpc.stages import captions
from tests.synthclip_hpc.app import REPOSITORY, environment
from tests.synthclip_hpc.scripted_engine import ScriptedEngine, open_scripted

CONFIG = CaptionsConfig(engine="tests.own:engine", device="cpu")


class Odd(Exception):
    """Cannot be built again from its text."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Telling:
    """Does what it is asked by a prompt, and answers with the outcome."""

    def __init__(self) -> None:
        self.opened_with = [os.environ.get("CUDA_VISIBLE_DEVICES"), "torch" in sys.modules]
        self.helper = subprocess.Popen(["sleep", "600"])

    def generate(self, batch: Sequence[Request]) -> list[str]:
        return [str(self._do(request.prompt)) for request in batch]

    def _do(self, prompt: str) -> Any:
        if prompt == "mistake":
            raise UserError("captions.prompt: too long")
        if prompt == "fault":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if prompt == "odd":
            raise Odd(1, 2)
        if prompt == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if prompt == "never ends":
            time.sleep(600)
        return {"opened with": self.opened_with, "pid": os.getpid(), "helper": self.helper.pid}[prompt]

    def close(self) -> None:
        if folder := os.environ.get("ENGINES_CLOSED"):
            (Path(folder) / str(os.getpid())).touch()


def open_telling(config: object, model: object) -> Telling:
    return Telling()


def open_refused(config: object, model: object) -> Telling:
    raise UserError("captions.device=cuda: no GPU here")


def open_dying(config: object, model: object) -> Telling:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def asked(*prompts: str) -> list[Request]:
    return [Request(f"concept {place}", prompt, 1000 + place) for place, prompt in enumerate(prompts)]


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def engine() -> Iterator[EngineProcess]:
    engine = EngineProcess(open_telling, CONFIG, None, 0)
    engine.wait_until_open()
    yield engine
    engine.kill()


def helper_of(engine: EngineProcess) -> dict[str, Any]:
    return identify(int(engine.generate(asked("helper"))[0]))


def test_answers_are_those_of_the_same_engine_in_this_process():
    batch = asked(*(["say"] * 2000))
    with engines_side_by_side(open_scripted, replace(CONFIG, engines=2), None) as engines:
        assert [engine.generate(batch) for engine in engines] == [ScriptedEngine().generate(batch)] * 2
        assert len({engine.pid for engine in engines} | {os.getpid()}) == 3


@pytest.mark.parametrize(
    ("given", "tensor_parallel", "expected"),
    [
        ("4,5,6,7", 1, ["4", "5", "6", "7"]),
        (None, 1, ["0", "1", "2", "3"]),
        (None, 2, ["0,1", "2,3", "4,5", "6,7"]),
        ("0,1,2,3,8,9,10,11", 2, ["0,1", "2,3", "8,9", "10,11"]),
        ("GPU-a, GPU-b, MIG-c, MIG-d", 1, ["GPU-a", "GPU-b", "MIG-c", "MIG-d"]),
        ("3,4,5,6,7", 1, ["3", "4", "5", "6"]),
    ],
)
def test_each_engine_of_a_worker_gets_gpus_of_its_own(given, tensor_parallel, expected):
    config = CaptionsConfig(engine="vllm", engines=4, vllm=VllmConfig(tensor_parallel=tensor_parallel))
    assert [visible_gpus(config, number, given) for number in range(4)] == expected


def test_a_key_of_another_engine_takes_no_gpus_and_the_cpu_needs_none():
    two = VllmConfig(tensor_parallel=2)
    assert visible_gpus(CaptionsConfig(engine="transformers", engines=2, vllm=two), 1, "6,7") == "7"
    assert visible_gpus(CaptionsConfig(engine="vllm", engines=2, device="cpu"), 1, "") is None
    assert visible_gpus(CaptionsConfig(engine="template", engines=2), 1, "") is None


def test_fewer_gpus_than_the_engines_take_are_told_with_both_numbers():
    config = CaptionsConfig(engine="vllm", engines=4, vllm=VllmConfig(tensor_parallel=2))
    with pytest.raises(UserError, match=r"captions\.engines=4: they take 8 GPUs, and the worker has 2 .*=4,5\)"):
        visible_gpus(config, 0, "4,5")


def test_its_gpus_are_set_before_the_engine_is_opened_and_torch_is_not_there_yet(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with engines_side_by_side(open_telling, replace(CONFIG, device="cuda", engines=2), None) as engines:
        told = [engine.generate(asked("opened with")) for engine in engines]
    assert told == [["['4', False]"], ["['5', False]"]]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5"


@pytest.mark.parametrize(
    ("engine", "device", "expected"),
    [("vllm", "cuda", EngineProcess), ("vllm", "cpu", ScriptedEngine), ("transformers", "cuda", ScriptedEngine)],
)
def test_vllm_alone_has_a_process_of_its_own_on_a_gpu_only(monkeypatch, engine, device, expected):
    monkeypatch.setattr(captions, "open_engine", open_scripted)
    with captions._open_engines(replace(CONFIG, engine=engine, device=device), None) as [opened]:
        assert type(opened) is expected
        assert opened.generate(asked("say")) == ScriptedEngine().generate(asked("say"))


def test_a_users_mistake_arrives_as_it_is_and_the_engine_goes_on(engine):
    pid = engine.pid
    with pytest.raises(UserError, match=r"(?m)^captions\.prompt: too long$"):
        engine.generate(asked("mistake"))
    assert engine.generate(asked("pid")) == [str(pid)]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [("fault", "(?m)^CUDA error: an illegal memory access was encountered$"), ("odd", "(?m)^Odd: 1 and 2$")],
)
def test_another_error_arrives_with_its_traceback_and_the_engine_is_opened_anew(engine, prompt, text):
    pid, helper = engine.pid, helper_of(engine)
    with pytest.raises(RuntimeError, match=text) as caught:
        engine.generate(asked("pid", prompt))
    assert "in _do" in caught.value.__notes__[0]
    wait_until(lambda: not is_alive(helper))
    [again] = engine.generate(asked("pid"))
    assert again == str(engine.pid) != str(pid)


def test_a_killed_engine_is_told_with_its_signal_and_opened_anew_at_the_next_batch(engine):
    pid, helper = engine.pid, helper_of(engine)
    with pytest.raises(EngineDied, match=rf"engine 1 of 1 \(pid {pid}\) was ended by SIGKILL .*slurm\.memory"):
        engine.generate(asked("die"))
    wait_until(lambda: not is_alive(helper))
    assert engine.generate(asked("pid", "pid")) == [str(engine.pid)] * 2
    os.kill(engine.pid, signal.SIGKILL)  # between two batches
    with pytest.raises(EngineDied):
        engine.generate(asked("pid"))
    assert engine.generate(asked("pid")) == [str(engine.pid)]


@pytest.mark.parametrize(("opener", "error"), [(open_refused, UserError), (open_dying, EngineDied)])
def test_an_engine_that_cannot_be_opened_ends_the_others(monkeypatch, opener, error):
    made: list[dict[str, Any]] = []

    class Noted(EngineProcess):
        def __init__(self, _: object, *arguments: Any) -> None:
            super().__init__(opener if made else open_telling, *arguments)
            made.append(identify(self.pid or 0))

    monkeypatch.setattr(engine_process, "EngineProcess", Noted)
    with pytest.raises(error), engines_side_by_side(open_telling, replace(CONFIG, engines=2), None):
        raise AssertionError("opened")
    assert [is_alive(one) for one in made] == [False, False]


def test_close_closes_the_engine_and_ends_what_it_has_started(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINES_CLOSED", str(tmp_path))
    with engines_side_by_side(open_telling, replace(CONFIG, engines=2), None) as engines:
        pids = [engine.pid for engine in engines]
        helpers = [helper_of(engine) for engine in engines]
        assert [is_alive(helper) for helper in helpers] == [True, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(str(pid) for pid in pids)
    wait_until(lambda: not any(is_alive(helper) for helper in helpers))
    assert [is_alive(identify(pid or 0)) for pid in pids] == [False, False]


def test_signals_to_the_whole_job_leave_an_engine_alone(engine):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(engine.pid, number)
    assert engine.generate(asked("pid")) == [str(engine.pid)]


def test_signals_that_come_before_an_engine_can_ignore_them_leave_it_alone():
    engine = EngineProcess(open_telling, CONFIG, None, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(engine.pid or 0, number)
    try:
        engine.wait_until_open()
        assert engine.generate(asked("pid")) == [str(engine.pid)]
    finally:
        engine.kill()


def test_an_engine_outlives_the_thread_that_opened_it_again(engine):
    with pytest.raises(EngineDied):
        engine.generate(asked("die"))
    lane = threading.Thread(target=lambda: engine.generate(asked("pid")))
    lane.start()
    lane.join()
    opened = engine.pid
    assert engine.generate(asked("pid")) == [str(opened)]


_WORKER = """
import threading
from synthclip_hpc.captioning.engines.engine_process import engines_side_by_side
from synthclip_hpc.config import CaptionsConfig
from tests.synthclip_hpc.test_engine_process import asked, open_telling

config = CaptionsConfig(engine="tests.own:engine", device="cpu", engines=2)
with engines_side_by_side(open_telling, config, None) as engines:
    lanes = [threading.Thread(target=engine.generate, args=(asked("never ends"),)) for engine in engines]
    for lane in lanes:
        lane.start()
    print(*[engine.pid for engine in engines], flush=True)
    for lane in lanes:
        lane.join()
"""


def test_a_killed_worker_leaves_no_engine_not_even_one_in_a_batch():
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER],
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert worker.stdout is not None
    engines: list[dict[str, Any]] = []
    try:
        engines = [identify(int(word)) for word in worker.stdout.readline().split()]
        assert [is_alive(engine) for engine in engines] == [True, True]
        worker.kill()
        worker.wait()
        wait_until(lambda: not any(is_alive(engine) for engine in engines))
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
        for engine in engines:
            os.killpg(engine["pid"], signal.SIGKILL)  # their helpers, which outlive an engine that was killed
