"""open_clip_train 3.3.0 in an environment in which it runs, and what its log tells of its speed.

It needs webdataset 0.2.86 (newer ones end its loader with KeyError: 'fname'), while this project's own environment has
a newer one. So both packages are put into a folder that comes before the others on the module path; torch, torchvision
and timm are the very same on both sides. The folder lies in the cache, and is made once.

Run as a module this is the peer's `main`, with two things that its command line lacks: a folder of model
configurations, its first argument, and DistributedDataParallel without `device_ids`, which stock 3.3.0 gives for CPUs
too, where torch refuses them.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from synthclip_hpc.paths import cache_folder
from tests.benchmarks import training_runs
from tests.benchmarks.measure import REPOSITORY, environment, run_process
from tests.benchmarks.training_runs import Span

OPEN_CLIP, WEBDATASET = "3.3.0", "0.2.86"
_MODULE = "tests.benchmarks.peer_open_clip"
_EPOCH_LINE = re.compile(r"Train Epoch: \d+ \[.*Batch \(t\): \S+ ([0-9.e+]+)/s, ")


class NoPeerError(RuntimeError):
    """The peer's packages are not to be had here."""


def packages() -> Path:
    """Return the folder with the peer's own packages, made when it is not there. Raises NoPeerError."""
    folder = cache_folder() / f"peer-open-clip-{OPEN_CLIP}-webdataset-{WEBDATASET}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = tempfile.mkdtemp(dir=folder.parent, prefix="peer-")
    try:
        wanted = [f"open_clip_torch=={OPEN_CLIP}", f"webdataset=={WEBDATASET}", "braceexpand==0.1.7"]
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", made, *wanted]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoPeerError((done.stderr.strip().splitlines() or ["pip failed"])[-1])
        Path(made).rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def train(own: Path, models: Path, tars: Path, folder: Path, *, epochs: int, processes: int) -> list[Span]:
    """Train with the peer on the tars of a folder; return its speed after the start, told as ours is.

    `own` is what `packages` returned. Raises RuntimeError when it fails or says less than a line a step.
    """
    runs = training_runs
    logs = folder / "peer-logs"
    arguments = {
        "model": runs.MODEL_NAME, "train-data": f"{tars}/{{00000..{runs.TARS - 1:05d}}}.tar",
        "train-num-samples": runs.IMAGES, "dataset-type": "webdataset", "batch-size": runs.BATCH // processes,
        "workers": 1, "epochs": epochs, "warmup": runs.WARMUP_STEPS, "lr": runs.LR, "wd": runs.WEIGHT_DECAY,
        "precision": "fp32", "device": "cpu", "log-every-n-steps": 1, "save-frequency": 1, "seed": 0, "logs": logs,
        "name": "peer",
    }  # fmt: skip
    words = [str(word) for key, value in arguments.items() for word in (f"--{key}", value)]
    words.append("--save-most-recent")
    start = [sys.executable, "-m", _MODULE]
    if processes > 1:
        words += ["--dist-backend", "gloo", "--local-loss", "--gather-with-grad"]
        # Without the `--` torchrun takes the peer's `--logs` for an option of its own.
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        start = [*launcher, "-m", "--", _MODULE]
    path = os.pathsep.join([str(own), str(REPOSITORY)])
    env = environment(PYTHONPATH=path, OMP_NUM_THREADS=str(2 // processes), GLOO_SOCKET_IFNAME="lo")
    run_process([*start, str(models), *words], folder, env)
    log = (logs / "peer" / "out.log").read_text(encoding="utf-8")
    shutil.rmtree(logs)
    rates = [float(rate) for rate in _EPOCH_LINE.findall(log)]
    if len(rates) != epochs * runs.EPOCH_STEPS:
        raise RuntimeError(f"the peer told of {len(rates)} steps, not of {epochs * runs.EPOCH_STEPS}:\n{log[-4000:]}")
    return runs.after_start(runs.spans_of(runs.BATCH / rate for rate in rates))


def main(argv: list[str]) -> None:
    """Be one process of the peer's training. Raises RuntimeError for other versions than those that are named."""
    import open_clip
    import torch

    found = version("open_clip_torch"), version("webdataset")
    if found != (OPEN_CLIP, WEBDATASET):
        raise RuntimeError(f"open_clip_torch and webdataset are {found}, wanted {(OPEN_CLIP, WEBDATASET)}")
    usual = torch.nn.parallel.DistributedDataParallel

    def without_devices(model: Any, device_ids: Any = None, **others: Any) -> Any:
        return usual(model, **others)

    torch.nn.parallel.DistributedDataParallel = without_devices  # type: ignore[misc]
    open_clip.add_model_config(argv[0])
    importlib.import_module("open_clip_train.main").main(argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
