"""Zero-shot and retrieval figures beside those of CLIP_benchmark 1.6.2, same model, same tars: equal to 1e-6.

    python -m tests.benchmarks.clip_benchmark_equality [--samples FOLDER] [--model FOLDER] [--peer PYTHON] [--record]

The peer runs in an environment of its own, made once in the cache (or `--peer` names the interpreter of one). Without
samples the small world of the tests is measured, and `--record` keeps the peer's answers as the fixture that the tests
compare with. `--samples` is a folder with cifar10-3k, caltech101-23, imagenet-sample-1000 and flickr8k-retrieval as
single tars; they are laid out as CLIP_benchmark wants them. Unless `--model` names an exported model, each is measured
with one fitted to it, so that the figures are far from chance.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evals import retrieval, zero_shot
from evals.folder import open_folder
from evals.templates import MARK
from synthclip_hpc.paths import cache_folder
from tests.benchmarks.measure import REPOSITORY, Result
from tests.evals import small_world

PEER = "1.6.2"
FIXTURE = REPOSITORY / "tests" / "evals" / "clip_benchmark_answers.json"
_PINS = (f"clip_benchmark=={PEER}", "requests", "numpy<2.4", "webdataset==1.0.2", "open_clip_torch==3.3.0")
_TORCHVISION_FIX = REPOSITORY / ".ci" / "_torchvision_cpu_ops.py"
_WITHIN = 1e-6
_FITTED: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
_PROMPTS = ("a photo of a {c}.", "a blurry photo of the {c}.", "itap of a {c}.")


def measure(folder: Path) -> list[Result]:
    """Compare on the small world; the benchmarks' table calls this."""
    model = small_world.write_model(folder / "model")
    sets = _small_sets(folder)
    return [row for row, _ in compared(sets, dict.fromkeys(sets, model), peer(), folder)]


def compared(
    sets: Mapping[str, Path], models: Mapping[str, Path], python: Path, folder: Path
) -> Iterator[tuple[Result, dict[str, Any]]]:
    """Yield, for each data set, the row of the table and the peer's metrics."""
    for name, data in sets.items():
        model = models[name]
        theirs = ask_peer(python, data, model, folder / f"{name}.json")
        task: Any = retrieval if "image_retrieval_recall@1" in theirs else zero_shot
        ours = task.run(task.Options(data=str(data), model=str(model)))["metrics"]
        gap = max(abs((ours[key] or 0.0) - (theirs[key] or 0.0)) for key in ours)
        same = ours.keys() == theirs.keys() and all((ours[key] is None) == (theirs[key] is None) for key in ours)
        told = ", ".join(f"{key} {value:.6f}" for key, value in ours.items() if value is not None)
        yield (
            Result(f"CLIP_benchmark {PEER}, {name}: {told}", f"{gap:.1e} apart", "1e-6", same and gap <= _WITHIN),
            theirs,
        )


def peer() -> Path:
    """Return the interpreter of the peer's environment, which is made when it is not there."""
    home = cache_folder() / f"clip-benchmark-{PEER}"
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    constraints = ["-c", str(REPOSITORY / ".ci" / "constraints-cpu.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *constraints, *_PINS], check=True)
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", purelib], check=True, capture_output=True, text=True).stdout.strip())
    shutil.copy(_TORCHVISION_FIX, packages)
    (packages / f"{_TORCHVISION_FIX.stem}.pth").write_text(f"import {_TORCHVISION_FIX.stem}\n")
    (home / "complete").touch()
    return python


def ask_peer(python: Path, data: Path, model: Path, out: Path) -> dict[str, Any]:
    """Return the peer's metrics, in fp32; what it writes as NaN is None. Raises RuntimeError with what it said."""
    is_retrieval = (data / "dataset_type.txt").exists()
    words = [
        python, "-m", "clip_benchmark.cli", "eval", "--dataset", "wds/set", "--dataset_root", data, "--model",
        f"local-dir:{model}", "--pretrained", "none", "--no_amp", "--num_workers", "0", "--batch_size", "64",
        "--output", out, "--task", "zeroshot_retrieval" if is_retrieval else "zeroshot_classification",
    ]  # fmt: skip
    if is_retrieval:
        words += ["--recall_k", "1", "5", "10"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0 or not out.exists():
        raise RuntimeError(f"CLIP_benchmark failed on {data}: {done.stderr[-2000:]}")
    metrics: dict[str, Any] = json.loads(out.read_text(), parse_constant=lambda _: None)["metrics"]
    return metrics


def _small_sets(folder: Path) -> dict[str, Path]:
    return {
        "twelve classes": small_world.write_classification(folder / "twelve"),
        "captions": small_world.write_retrieval(folder / "captions"),
    }


def _sample_sets(samples: Path, folder: Path) -> dict[str, Path]:
    caltech, imagenet = samples / "caltech101-23", samples / "imagenet-sample-1000"
    cifar, flickr = samples / "cifar10-3k", samples / "flickr8k-retrieval" / "flickr8k-retrieval-700.tar"
    laid_out = {
        "cifar10": (cifar / "test-1000.tar", (cifar / "classes.txt").read_text().split()),
        "caltech101": (caltech / "test-8perclass.tar", _last_column(caltech / "classes.tsv")),
        "imagenet": (imagenet / "imagenet-sample-1000.tar", _last_column(imagenet / "classes.tsv")),
    }
    sets = {}
    for name, (tar, classes) in laid_out.items():
        sets[name] = folder / name
        small_world.write_split(sets[name], "test", [_members(tar)])
        small_world.write_texts(sets[name], classes, [template.replace("{c}", MARK) for template in _PROMPTS])
    sets["flickr8k"] = folder / "flickr8k"
    small_world.write_split(sets["flickr8k"], "test", [_with_captions(flickr)])
    (sets["flickr8k"] / "dataset_type.txt").write_text("retrieval")
    return sets


def _fitted(data: Path, folder: Path) -> Path:
    """Write a model whose last matrix is fitted to the pictures of a data set and their classes or first captions."""
    from PIL import Image

    whole = open_folder(data)
    split = whole.split("test")
    if whole.retrieval:
        texts = [captions[0] for captions in split.captions]
    else:
        texts = [whole.classnames[label] for label in split.labels]
    pairs = []
    for number in range(len(split.images)):
        with split.images.shards[split.images.shard[number]].open("rb") as file:
            file.seek(int(split.images.offset[number]))
            pairs.append((Image.open(io.BytesIO(file.read(int(split.images.size[number])))), texts[number]))
    return small_world.write_model(folder, _FITTED, pairs)


def _last_column(path: Path) -> list[str]:
    return [line.split("\t")[-1] for line in path.read_text(encoding="utf-8").splitlines() if line[:1].isdigit()]


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member) or io.BytesIO()
            yield member.name, content.read()


def _with_captions(path: Path) -> Iterator[tuple[str, bytes]]:
    for name, content in _members(path):
        if name.endswith(".json"):
            yield name.replace(".json", ".txt"), "\n".join(json.loads(content)["captions"]).encode()
        else:
            yield name, content


def main() -> int:
    """Print the table; return 1 when a figure differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.clip_benchmark_equality")
    parser.add_argument("--samples", type=Path, help="folder with the four sample sets")
    parser.add_argument("--model", type=Path, help="an exported model (default: the small world's)")
    parser.add_argument("--peer", type=Path, help="interpreter of an environment with CLIP_benchmark")
    parser.add_argument("--record", action="store_true", help=f"keep the small world's answers in {FIXTURE.name}")
    given = parser.parse_args()
    if given.record and (given.samples or given.model):
        parser.error("--record is for the small world and its own model")
    with tempfile.TemporaryDirectory(prefix="synthclip-equality-") as temporary:
        folder = Path(temporary)
        sets = _sample_sets(given.samples, folder) if given.samples else _small_sets(folder)
        if given.samples and not given.model:
            models = {name: _fitted(data, folder / f"{name}-model") for name, data in sets.items()}
        else:
            models = dict.fromkeys(sets, given.model or small_world.write_model(folder / "model"))
        answers, passed = {}, True
        for (row, theirs), name in zip(compared(sets, models, given.peer or peer(), folder), sets, strict=True):
            print(f"{'pass' if row.passed else 'FAIL'}  {row.what}: {row.value} (at most {row.floor})", flush=True)
            answers[name] = theirs
            passed = passed and bool(row.passed)
    if given.record:
        FIXTURE.write_text(json.dumps({"clip_benchmark": PEER, "metrics": answers}, indent=1) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
