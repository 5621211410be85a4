"""The tiled contrastive loss beside open_clip's ClipLoss: one process, 8,192 pairs of 512 numbers, float32, on the CPU.

A round is one forward and one backward pass of each; the sides take turns, because the machine has other work to do,
and the ratio is the median over rounds. Memory is measured in a process of its own for each side, as the growth of what
is resident, features and gradients of features included. Both sides must find the same loss and gradients. Run as a
module, with `time` or the name of a side, it prints its figures as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Result, environment, run_process

PAIRS, WIDTH = 8192, 512
ROUNDS = 5
TIME_FLOOR = 1.3
MEMORY_FLOOR = 0.25
SIDES = ("tiled", "open_clip")


def measure(folder: Path) -> list[Result]:
    times = _asked("time", folder)
    ratios = [ours / theirs for ours, theirs in zip(*(times[side] for side in SIDES), strict=True)]
    middle = statistics.median(ratios)
    spread = f"(of {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f})"
    ours, theirs = (_asked(side, folder)["bytes"] for side in SIDES)
    value = f"{ours / theirs:.2f}x ({ours / 1e6:.0f} MB, {theirs / 1e6:.0f} MB)"
    return [
        Result("tiled loss, time over ClipLoss", f"{middle:.2f}x {spread}", f"<= {TIME_FLOOR}x", middle <= TIME_FLOOR),
        Result("tiled loss, memory over ClipLoss", value, f"<= {MEMORY_FLOOR}x", ours / theirs <= MEMORY_FLOOR),
    ]


def _asked(what: str, folder: Path) -> Any:
    words = [sys.executable, "-m", "tests.benchmarks.tiled_loss", what]
    return json.loads(run_process(words, folder, environment()).output)


def time_sides() -> dict[str, list[float]]:
    """Return the seconds of each round by side. Raises AssertionError when the sides do not find the same."""
    import torch

    inputs = _features(PAIRS)
    results = {side: _pass(_loss(side), inputs) for side in SIDES}
    for one, other in zip(*results.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()))
    del results
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side in SIDES:
            loss = _loss(side)
            started = time.perf_counter()
            _pass(loss, inputs)
            seconds[side].append(time.perf_counter() - started)
    return seconds


def grow(side: str) -> dict[str, int]:
    """Return by how many bytes one pass makes this process grow at its highest."""
    # What libraries set up once is not the loss's.
    _pass(_loss(side), _features(64))
    before = _memory("VmRSS")
    _pass(_loss(side), _features(PAIRS))
    return {"bytes": _memory("VmHWM") - before}


def _loss(side: str) -> Callable[..., Any]:
    from open_clip.loss import ClipLoss

    from synthclip_hpc.config.train import TrainConfig
    from synthclip_hpc.training.loss import contrastive_loss

    if side == "open_clip":
        return ClipLoss()
    return lambda *inputs: contrastive_loss(*inputs, gather_grad=True, tile=TrainConfig().loss_tile)


def _features(count: int) -> list[Any]:
    import torch

    generator = torch.Generator().manual_seed(count)
    sides = [torch.randn(count, WIDTH, generator=generator) for _ in range(2)]
    unit = [torch.nn.functional.normalize(side, dim=1) for side in sides]
    return [leaf.requires_grad_() for leaf in (*unit, torch.tensor(14.3))]


def _pass(loss: Callable[..., Any], inputs: list[Any]) -> list[Any]:
    import torch

    value = loss(*inputs)
    return [value.detach(), *torch.autograd.grad(value, inputs)]


def _memory(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {key} in /proc/self/status")


if __name__ == "__main__":
    print(json.dumps(time_sides() if sys.argv[1] == "time" else grow(sys.argv[1])), flush=True)
