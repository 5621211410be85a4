"""An engine in a process of its own, so that one worker can run several side by side, each on GPUs of its own.

The processes are the worker's alone. Signals to a job are the worker's to act upon, between two batches; when it dies,
however it dies, the kernel ends them. One that dies by itself costs the batch in hand, and is started again when the
next batch comes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.engines.engine_child import FOR_THE_WORKER, Failure, Opener, serve
from synthclip_hpc.captioning.models.folder import ModelFiles
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError

_LOOK_EVERY_S = 0.5
_PATIENCE_S = 20.0
"""How long an engine may take to close, within what a scheduler leaves between its warning and the end."""


class EngineDied(RuntimeError):
    """An engine's process ended while it was needed."""


@dataclass(frozen=True)
class _Child:
    process: SpawnProcess
    connection: Connection


def gpus_per_engine(config: CaptionsConfig) -> int:
    """Return how many GPUs one engine takes; 0 for one that takes none."""
    if config.engine == "template" or config.device != "cuda":
        return 0
    return 1 if config.engine == "transformers" else config.vllm.tensor_parallel


def visible_gpus(config: CaptionsConfig, number: int, given: str | None) -> str | None:
    """Return CUDA_VISIBLE_DEVICES for engine `number` (from 0) of a worker that has `given`; None to leave it alone.

    Raises UserError when the worker was given fewer GPUs than its engines take.
    """
    width = gpus_per_engine(config)
    if width == 0:
        return None
    first = number * width
    if given is None:
        return ",".join(str(gpu) for gpu in range(first, first + width))
    gpus = [word.strip() for word in given.split(",") if word.strip()]
    if len(gpus) < config.engines * width:
        raise UserError(
            f"captions.engines={config.engines}: they take {config.engines * width} GPUs, and the worker has "
            f"{len(gpus)} (CUDA_VISIBLE_DEVICES={given}); ask for more (slurm.gpus_per_node={config.engines * width}) "
            "or lower captions.engines"
        )
    return ",".join(gpus[first : first + width])


class EngineProcess:
    """Engine `number` (from 0) of a worker, in a process of its own. Used by one thread at a time."""

    def __init__(self, opener: Opener, config: CaptionsConfig, model: ModelFiles | None, number: int) -> None:
        """Start the process; `wait_until_open` tells what became of it."""
        visible = visible_gpus(config, number, os.environ.get("CUDA_VISIBLE_DEVICES"))
        self.name = f"engine {number + 1} of {config.engines}"
        self._arguments = (opener, config, model, visible)
        self._child: _Child | None = self._start()

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        return None if self._child is None else self._child.process.pid

    def wait_until_open(self) -> None:
        """Wait until the engine can be asked. Raises what opening it raised; EngineDied when its process ended."""
        self._answer()

    def generate(self, batch: Sequence[Request]) -> list[str]:
        """Answer every request, in order; an engine that was lost is opened again first.

        Raises what the engine raised, with its traceback in a note, and EngineDied when its process ended.
        """
        if self._child is None:
            self._child = self._start()
            self.wait_until_open()
        # To a process that is gone there is nothing to send; the missing answer says why.
        if self._child.process.is_alive():
            with contextlib.suppress(OSError):
                self._child.connection.send(list(batch))
        answers: list[str] = self._answer()
        return answers

    def close(self) -> None:
        """Close the engine and end its process; at once when it does not close by itself in time."""
        if self._child is None:
            return
        with contextlib.suppress(OSError):  # gone already
            self._child.connection.send(None)
        self._child.process.join(_PATIENCE_S)
        self.kill()

    def kill(self) -> None:
        """End the process now, and whatever it has started."""
        child, self._child = self._child, None
        if child is None:
            return
        child.process.kill()
        with contextlib.suppress(ProcessLookupError):  # nobody is left in its group
            os.killpg(_pid(child), signal.SIGKILL)
        child.process.join(_PATIENCE_S)
        child.connection.close()

    def _start(self) -> _Child:
        return _starter().submit(_start, *self._arguments).result()

    def _answer(self) -> Any:
        """Return what the process says next; after anything but an answer or a user's mistake it is ended."""
        assert self._child is not None
        try:
            told = _receive(self._child)
        except (EOFError, OSError):
            raise self._died() from None
        except BaseException:
            # What is still to come would be taken for the answer to the next batch.
            self.kill()
            raise
        if not isinstance(told, Failure):
            return told
        if not isinstance(told.error, UserError):
            # After a fault of its GPU, most of all, an engine never answers again.
            self.kill()
        raise told.error

    def _died(self) -> EngineDied:
        assert self._child is not None
        pid = self.pid
        self._child.process.join(_PATIENCE_S)
        code = self._child.process.exitcode
        self.kill()
        how = "has closed its connection" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            how += " (most often for want of memory: slurm.memory)"
        return EngineDied(f"captions.engine: the process of {self.name} (pid {pid}) {how}; see the log before this")


@contextlib.contextmanager
def engines_side_by_side(
    opener: Opener, config: CaptionsConfig, model: ModelFiles | None
) -> Iterator[list[EngineProcess]]:
    """Open `captions.engines` engines at once, each in a process of its own; all are closed at the end.

    Raises what opening one of them raises.
    """
    engines: list[EngineProcess] = []
    try:
        for number in range(config.engines):
            engines.append(EngineProcess(opener, config, model, number))
        for engine in engines:
            engine.wait_until_open()
    except BaseException:
        for engine in engines:
            engine.kill()
        raise
    try:
        yield engines
    finally:
        with ThreadPoolExecutor(len(engines)) as pool:
            list(pool.map(EngineProcess.close, engines))


@cache
def _starter() -> ThreadPoolExecutor:
    """Return the one thread that starts processes.

    A process that asks to end with its parent ends with the thread that started it. This one lives as long as the
    worker; a thread that works through shards may end while others still use the engine that it opened again.
    """
    return ThreadPoolExecutor(1, "engine-starter")


def _start(*arguments: Any) -> _Child:
    """Start a process that serves an engine; in the thread made for it, which no signal needs to reach."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_WORKER)
    # Otherwise it is started on the way, and lets two of these signals through afterwards.
    resource_tracker.ensure_running()
    # Inherited by the new process, which may be sent them before it can ignore them.
    signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_WORKER)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # No daemon in Python's sense: those may not have processes of their own, as vLLM's engine does on several GPUs.
    process = context.Process(target=serve, args=(theirs, os.getpid(), *arguments))
    try:
        process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return _Child(process, ours)


def _receive(child: _Child) -> Any:
    """Return the next message. Raises EOFError when none can come, even if others hold the pipe's other end open."""
    while not child.connection.poll(_LOOK_EVERY_S):
        if not child.process.is_alive() and not child.connection.poll():
            raise EOFError
    return child.connection.recv()


def _pid(child: _Child) -> int:
    assert child.process.pid is not None
    return child.process.pid
