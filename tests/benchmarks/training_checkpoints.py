"""What checkpoints cost the stage `train`, and how soon it goes on from one: real runs on the CPU.

Saving: samples a second from step 10 to the end, saves in between included, with a checkpoint every 50 steps over
without any. Going on: a run is cancelled amid its work, and gone on with by `resume`; the clock runs from the start of
the worker's process to the first step that is new, and the same for a run that begins. Sides take turns; ratios are
medians over rounds.
"""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

from tests.benchmarks import training_runs
from tests.benchmarks.measure import Result, command, environment, run_process
from tests.benchmarks.training_runs import PHASE, read_lines, whole_rate

SAVE_ROUNDS, SAVE_EPOCHS, SAVE_STEPS = 3, 4, 50
RESUME_ROUNDS = 3
SAVE_FLOOR, RESUME_FLOOR = 0.98, 1.1
_MANY_EPOCHS = 1000
_SETTLED_STEPS = 5
_LOOK_S = 0.01
_PATIENCE_S = 300.0


def measure(folder: Path) -> list[Result]:
    """Measure both."""
    prepared, model = training_runs.prepare(folder), training_runs.write_model(folder / "models")
    return [*_saving(folder, prepared, model), *_going_on(folder, prepared, model)]


def _saving(folder: Path, prepared: Path, model: Path) -> list[Result]:
    words = training_runs.words_of(model, epochs=SAVE_EPOCHS)
    sides = {"with": [*words, f"train.checkpoint_steps={SAVE_STEPS}"], "without": words}
    rates: dict[str, list[float]] = {side: [] for side in sides}
    busy = 0.0
    for number in range(SAVE_ROUNDS):
        for side in list(sides) if number % 2 else list(sides)[::-1]:
            busy = max(busy, training_runs.others_busy())
            rates[side].append(whole_rate(training_runs.train(prepared, folder / f"saving{number}", sides[side])))
    ratios = [one / other for one, other in zip(rates["with"], rates["without"], strict=True)]
    middle = statistics.median(ratios)
    spread = f"(of {len(ratios)}: {min(ratios):.3f} to {max(ratios):.3f}); others' load before: {busy:.0%}"
    what = f"training, a checkpoint every {SAVE_STEPS} steps over none"
    return [Result(what, f"{middle:.3f}x {spread}", f">= {SAVE_FLOOR}x", middle >= SAVE_FLOOR)]


def _going_on(folder: Path, prepared: Path, model: Path) -> list[Result]:
    words = training_runs.words_of(model, epochs=_MANY_EPOCHS)
    cold, resumed = [], []
    for number in range(RESUME_ROUNDS):
        run = folder / f"going-on{number}"
        shutil.copytree(prepared, run)
        try:
            cold.append(_first_step_s(run, command("submit", *words, f"run={run}")))
            _cancel(run)
            resumed.append(_first_step_s(run, command("resume", f"run={run}")))
        finally:
            _cancel(run)
        shutil.rmtree(run)
    ratios = [one / other for one, other in zip(resumed, cold, strict=True)]
    middle = statistics.median(ratios)
    spread = f"(of {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f})"
    times = f"{statistics.median(resumed):.1f} s, {statistics.median(cold):.1f} s"
    what = "training, start to the first new step: resumed over cold"
    return [Result(what, f"{middle:.2f}x {spread}; {times}", f"<= {RESUME_FLOOR}x", middle <= RESUME_FLOOR)]


def _first_step_s(run: Path, words: list[str]) -> float:
    """Start a worker by a command; return the seconds from its start to its first step, when it has done some more."""
    before = set((run / "train/metrics").glob("*.jsonl"))
    run_process(words, run.parent, environment())
    first_at, steps, deadline = 0.0, 0, time.monotonic() + _PATIENCE_S
    while steps < _SETTLED_STEPS:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{run}: no step within {_PATIENCE_S:.0f} s; see {run}/logs/train")
        time.sleep(_LOOK_S)
        new = set((run / "train/metrics").glob("*.jsonl")) - before
        steps = sum("loss" in row for path in new for row in read_lines(path))
        if steps and not first_at:
            first_at = time.time()
    (metrics,) = new
    attempt = metrics.stem.rpartition("-")[0]
    events = read_lines(run / PHASE / "journals" / f"{attempt}.jsonl")
    return first_at - next(float(event["time"]) for event in events if event["event"] == "start")


def _cancel(run: Path) -> None:
    """End what is alive of a run, and wait for it: its ranks save what they have on the way."""
    run_process(command("cancel", f"run={run}"), run.parent, environment())
    deadline = time.monotonic() + _PATIENCE_S
    while any(_is_alive(path) for path in (run / PHASE / "journals").glob("*.jsonl")):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{run}: still at work {_PATIENCE_S:.0f} s after `cancel`")
        time.sleep(0.05)


def _is_alive(journal: Path) -> bool:
    """Tell whether the worker or supervisor that writes a journal is there."""
    return any(event["event"] == "start" and Path(f"/proc/{event['pid']}").exists() for event in read_lines(journal))
