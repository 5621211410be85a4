"""Real runs of the stage `train` on the CPU, for benchmarks: their data set, their words, and how fast they went.

The data set is 4,096 pictures of emoji, JPEGs of 96 x 96 in 8 tars, made by the stages before from seeds alone. The
model is a small ViT: 4 layers of 128 in both towers, images of 64 px.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sharding import ustar
from sharding.tar_scan import scan
from tests.benchmarks.measure import command, environment, run_process

IMAGES, TARS, BATCH = 4096, 8, 128
EPOCH_STEPS = IMAGES // BATCH
MODEL_NAME = "ViT-xs-16"
MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 4},
}
LR, WEIGHT_DECAY, WARMUP_STEPS = 5e-4, 0.1, 10
CROP_MIN = 0.9
"""open_clip's default."""
SKIPPED_STEPS = 10
"""First steps of a run, which no figure has: memory and caches are still being filled."""
SPAN_S = 1.0
"""Speeds are told over this time at least, as the stage's own metrics do."""
PHASE = "train/fit"
_BUSY_S = 0.5


class Span(NamedTuple):
    """Neighbouring steps: the number of the last of them, how many, and their seconds."""

    last: int
    steps: int
    seconds: float


def write_model(folder: Path) -> Path:
    """Write the model's configuration, as open_clip takes it; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{MODEL_NAME}.json"
    path.write_text(json.dumps(MODEL), encoding="utf-8")
    return path


def prepare(folder: Path) -> Path:
    """Make a run that ends with its data set; return it."""
    run = folder / "prepared"
    words = ["stage=captions,balance,render,merge", "preset=laptop", "concepts.bank=emoji",
             "captions.template.wording=clip", "captions.per_concept=12", "render.size=96",
             f"balance.target={IMAGES}", f"balance.shard_items={IMAGES // TARS}"]  # fmt: skip
    run_process([*command("submit", *words), "cluster=local", "wait=true", f"run={run}"], folder, environment())
    return run


def plain_tars(prepared: Path, folder: Path) -> Path:
    """Write the data set's tars once more without the .json of each sample, which the peer would parse for nothing."""
    folder.mkdir()
    for tar in sorted((prepared / "dataset/shards").glob("*.tar")):
        data = tar.read_bytes()
        found = [(one.name, data[one.offset : one.offset + one.size]) for one in scan(data, tar)]
        kept = [(name, content) for name, content in found if not name.endswith(".json")]
        (folder / tar.name).write_bytes(ustar.members(kept) + ustar.END)
    return folder


def words_of(model: Path, *, epochs: int, processes: int = 1) -> list[str]:
    """What `submit stage=train` is given: threads for two cores, a checkpoint at the end alone."""
    settings = {
        "model": model, "device": "cpu", "precision": "float32", "epochs": epochs, "batch_size": BATCH, "lr": LR,
        "warmup_epochs": WARMUP_STEPS / EPOCH_STEPS, "weight_decay": WEIGHT_DECAY, "grad_clip": 0.0,
        "crop_min": CROP_MIN, "interpolation": "bicubic", "normalize": "openai", "threads": 2 // processes,
        "processes_per_node": processes, "loader_workers": 1, "checkpoint_min": 1e6,
    }  # fmt: skip
    return ["stage=train", "cluster=local", *(f"train.{key}={value}" for key, value in settings.items())]


def train(prepared: Path, run: Path, words: Iterable[str]) -> list[Span]:
    """Train as the stage does, in a copy of the prepared run that is removed again; return its speed after the start.

    Raises RuntimeError when it fails.
    """
    shutil.copytree(prepared, run)
    run_process([*command("submit", *words), "wait=true", f"run={run}"], run.parent, environment())
    (metrics,) = (run / "train/metrics").glob("*.jsonl")
    spans, last = [], 0
    for row in read_lines(metrics):
        if row.get("kind") == "timing":
            spans.append(Span(row["step"], row["step"] - last, row["step_s"] * (row["step"] - last)))
            last = row["step"]
    shutil.rmtree(run)
    return after_start(spans)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last one that is not whole yet is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def spans_of(seconds: Iterable[float]) -> list[Span]:
    """Put the seconds of single steps together to spans, as the stage's metrics do it."""
    spans, steps, took = [], 0, 0.0
    for number, one in enumerate(seconds, 1):
        steps, took = steps + 1, took + one
        if took >= SPAN_S:
            spans.append(Span(number, steps, took))
            steps, took = 0, 0.0
    return spans


def after_start(spans: list[Span]) -> list[Span]:
    """Return the spans that begin behind the first steps. Raises RuntimeError when there are none."""
    kept = [span for span in spans if span.last - span.steps >= SKIPPED_STEPS]
    if not kept:
        raise RuntimeError(f"no speed was told after the first {SKIPPED_STEPS} steps: {spans}")
    return kept


def median_rate(spans: list[Span]) -> float:
    """Return samples a second of the middle span: what ends an epoch on one side alone does not count."""
    return BATCH * statistics.median(span.steps / span.seconds for span in spans)


def whole_rate(spans: list[Span]) -> float:
    """Return samples a second from the first span to the last, whatever happened in between."""
    return BATCH * sum(span.steps for span in spans) / sum(span.seconds for span in spans)


def others_busy() -> float:
    """Return what part of the machine's processors is busy, when nothing of this benchmark is: 0 to 1."""
    before = _ticks()
    time.sleep(_BUSY_S)
    busy, total = (now - then for now, then in zip(_ticks(), before, strict=True))
    return busy / max(1, total)


def _ticks() -> tuple[int, int]:
    """Return the busy and all ticks of all processors since the machine started."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    user, nice, system, idle, waiting, *rest = (int(field) for field in fields)
    busy = user + nice + system + sum(rest)
    return busy, busy + idle + waiting
