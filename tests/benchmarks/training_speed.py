"""The stage `train` beside open_clip_train and a bare loop: same model, images, batch, threads, float32, on the CPU.

Ours is the stage itself, as `submit` starts it: worker, torchrun, ranks, a loader process each. The peer is
open_clip_train 3.3.0 with webdataset, its fastest setting on two cores (one loader process), and a log line a step, as
we write one. Both decode, crop and resize the same JPEGs and tokenise the same captions. The bare loop has all that
behind it: pixels and tokens lie in memory, and it is only model, ClipLoss and the fused AdamW. Speed is the median over
spans of a second; the first steps are left out. Sides take turns, who begins changes, and the ratio is the median over
rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks import peer_open_clip, training_runs
from tests.benchmarks.measure import Result, environment, run_process
from tests.benchmarks.training_runs import MODEL, Span, median_rate

ROUNDS = 3
EPOCHS = 3
PEER_FLOOR, BARE_GOAL = 1.05, 0.97
_BARE_BATCHES = 4

Side = Callable[[int], list[Span]]
"""From the number of a round to its speed."""


def measure(folder: Path) -> list[Result]:
    """Compare with one process of two threads, and with two processes of one."""
    prepared, model = training_runs.prepare(folder), training_runs.write_model(folder / "models")
    try:
        packages: Path | None = peer_open_clip.packages()
    except peer_open_clip.NoPeerError as error:
        packages, why = None, str(error)
    tars = training_runs.plain_tars(prepared, folder / "plain")
    results = []
    for processes in (1, 2):
        words = training_runs.words_of(model, epochs=EPOCHS, processes=processes)
        sides: dict[str, Side] = {"ours": partial(_ours, prepared, folder, words)}
        if packages is not None:
            sides["peer"] = partial(_peer, packages, model.parent, tars, folder, processes)
        if processes == 1:
            sides["bare"] = partial(_bare, folder)
        rates, busy = _in_turn(sides)
        what = f"training, {processes} process{'es' if processes > 1 else ''}:"
        if packages is None:
            results.append(Result(f"{what} over open_clip_train", f"left out: {why[:80]}", f">= {PEER_FLOOR}x", None))
        else:
            results.append(_compared(f"{what} over open_clip_train", rates["ours"], rates["peer"], PEER_FLOOR))
        if "bare" in rates:
            beside = _compared(f"{what} over a bare loop in memory", rates["ours"], rates["bare"], BARE_GOAL)
            results.append(Result(beside.what, beside.value, f"goal {BARE_GOAL}x", None))
        told = ", ".join(f"{name} {statistics.median(found):.0f}" for name, found in rates.items())
        results.append(Result(f"{what} samples/s", f"{told}; others' load before: {busy:.0%}", "-", None))
    return results


def _in_turn(sides: dict[str, Side]) -> tuple[dict[str, list[float]], float]:
    """Return each side's samples a second by round, and the most that others kept the machine busy before a run."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    busy = 0.0
    for number in range(ROUNDS):
        for name in list(sides) if number % 2 else list(sides)[::-1]:
            busy = max(busy, training_runs.others_busy())
            rates[name].append(median_rate(sides[name](number)))
    return rates, busy


def _compared(what: str, ours: list[float], theirs: list[float], floor: float) -> Result:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    middle = statistics.median(ratios)
    spread = f"(of {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f})"
    return Result(what, f"{middle:.2f}x {spread}", f">= {floor}x", middle >= floor)


def _ours(prepared: Path, folder: Path, words: list[str], number: int) -> list[Span]:
    return training_runs.train(prepared, folder / f"run{number}", words)


def _peer(packages: Path, models: Path, tars: Path, folder: Path, processes: int, number: int) -> list[Span]:
    return peer_open_clip.train(packages, models, tars, folder, epochs=EPOCHS, processes=processes)


def _bare(folder: Path, number: int) -> list[Span]:
    words = [sys.executable, "-m", "tests.benchmarks.training_speed", str(EPOCHS * training_runs.EPOCH_STEPS)]
    output = run_process(words, folder, environment(OMP_NUM_THREADS="2")).output
    return training_runs.after_start(training_runs.spans_of(json.loads(output.strip().splitlines()[-1])))


def train_bare(steps: int) -> list[float]:
    """Train as a few lines do; return the seconds of each step."""
    import open_clip
    import torch

    torch.manual_seed(0)
    model = open_clip.CLIP(**MODEL, output_dict=False)
    loss_of = open_clip.loss.ClipLoss()
    recipe = {"lr": training_runs.LR, "weight_decay": training_runs.WEIGHT_DECAY, "eps": 1e-6}
    optimizer = torch.optim.AdamW(model.parameters(), fused=True, **recipe)
    size, length = MODEL["vision_cfg"]["image_size"], MODEL["text_cfg"]["context_length"]
    shape = (_BARE_BATCHES, training_runs.BATCH)
    images = torch.randn(*shape, 3, size, size)
    tokens = torch.randint(1, MODEL["text_cfg"]["vocab_size"], (*shape, length))
    seconds = []
    for step in range(steps):
        started = time.perf_counter()
        optimizer.zero_grad()
        features = model(images[step % _BARE_BATCHES], tokens[step % _BARE_BATCHES])
        loss = loss_of(*features)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    print(json.dumps(train_bare(int(sys.argv[1]))), flush=True)
