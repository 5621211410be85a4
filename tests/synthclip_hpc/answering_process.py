"""Run as a module: a process that opens an engine, answers batches, tells the answers and waits to be ended."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from sharding.ids import derive
from synthclip_hpc.captioning.engines.engine import Engine, Request
from synthclip_hpc.captioning.models.find import ModelFiles
from synthclip_hpc.captioning.prompts import fill, find_prompts
from synthclip_hpc.config import CaptionsConfig, TemplateConfig, TransformersConfig, VllmConfig

REPOSITORY = Path(__file__).parents[2]
CONCEPTS = ["red fox", "lighthouse", "bowl of ramen", "golden retriever", "violin", "snowboarder", "tulip", "bicycle"]


def requests(start: int, stop: int, words: tuple[int, int] | None = None) -> list[Request]:
    """Items [start, stop): the paper's prompt, or with `words` a prompt of the tiny model's, of so many words."""
    template = find_prompts("paper").draw(0)
    made = []
    for item in range(start, stop):
        concept = CONCEPTS[item % len(CONCEPTS)]
        prompt = fill(template, concept)
        if words is not None:
            count = words[0] + item % (words[1] - words[0] + 1)
            prompt = " ".join(["red", "fox", "blue", "moon", "the", "a", "in"][:count])
        made.append(Request(concept, prompt, derive(0, item, "test")))
    return made


@dataclasses.dataclass
class Answering:
    """A started process, alone in a session of its own; it ends with its `with` block, or with the tests' process."""

    process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait_for_answers(self) -> list[list[str]]:
        """Return the answers; the process lives on, with its engine open."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("answers "):
                told: list[list[str]] = json.loads(line.removeprefix("answers "))
                return told
        raise AssertionError(f"no answers; exit code {self.process.wait()}")

    def kill(self) -> None:
        """Send SIGKILL to the process alone, not to children it may have."""
        self.process.kill()
        self.process.wait()
        # Not `communicate`: a child that lives on holds the other ends.
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()

    def left_over(self) -> list[int]:
        """Return the process ids that its session still holds, and end them."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError, PermissionError):
                if entry.name.isdigit() and os.getsid(int(entry.name)) == self.process.pid:
                    found.append(int(entry.name))
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return found


def start(
    config: CaptionsConfig, model: ModelFiles, batches: list[tuple[int, int]], fault_after: int | None = None
) -> Answering:
    """Start a process that opens the engine and answers the items [start, stop) of each batch, in order.

    After `fault_after` batches there is one more, in which vLLM fails with its requests half answered.
    """
    job = {
        "config": dataclasses.asdict(config),
        "model": {**vars(model), "path": str(model.path)},
        "batches": batches,
        "fault_after": fault_after,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.synthclip_hpc.answering_process", json.dumps(job)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    return Answering(process)


def _open(job: dict[str, Any]) -> Engine:
    values = job["config"]
    nested = {"template": TemplateConfig, "transformers": TransformersConfig, "vllm": VllmConfig}
    config = CaptionsConfig(**{key: nested[key](**value) if key in nested else value for key, value in values.items()})
    module = importlib.import_module(f"synthclip_hpc.captioning.engines.{config.engine}_engine")
    engine: Engine = getattr(module, f"open_{config.engine}")(
        config, ModelFiles(**{**job["model"], "path": Path(job["model"]["path"])})
    )
    return engine


def _fail(engine: Any) -> None:
    """Let vLLM fail in its third step."""
    step, steps = engine.llm.llm_engine.step, iter(range(3))

    def fail_soon() -> Any:
        if next(steps) == 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return step()

    engine.llm.llm_engine.step = fail_soon
    with contextlib.suppress(RuntimeError):
        engine.generate(requests(0, 4))
    assert engine.llm is None


def _main() -> None:
    job = json.loads(sys.argv[1])
    engine = _open(job)
    answers = []
    for number, (first, after) in enumerate(job["batches"]):
        if number == job["fault_after"]:
            _fail(engine)
        answers.append(engine.generate(requests(first, after)))
    print("answers", json.dumps(answers), flush=True)
    # Until killed. Should whoever started this be gone, its end of the pipe is closed.
    sys.stdin.read()


if __name__ == "__main__":
    _main()
