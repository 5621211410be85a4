"""What a command imports before it knows what it is to do: each heavy package costs every user, at every call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.synthclip_hpc.app import environment

HEAVY = {
    "diffusers",
    "matplotlib",
    "numpy",
    "open_clip",
    "pyarrow",
    "submitit",
    "textual",
    "torch",
    "transformers",
    "vllm",
}
VERBS = (
    "submit", "resume", "status", "failures", "why", "cancel", "verify", "repair", "preview", "coverage", "sample",
)  # fmt: skip


def imported(folder: Path, *words: str) -> set[str]:
    """The top-level packages that a Python command line imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env=environment(),
        check=True,
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_command_imports_nothing_heavy(verb: str, tmp_path: Path) -> None:
    found = imported(tmp_path, "-m", f"synthclip_hpc.{verb}", "--help")
    assert "tyro" in found
    assert found & (HEAVY | {"rich"}) == set()


@pytest.mark.parametrize("verb", VERBS)
def test_no_option_makes_tyro_import_typeguard(verb: str, tmp_path: Path) -> None:
    assert "typeguard" not in imported(tmp_path, "-m", f"synthclip_hpc.{verb}", "--help")


def test_the_configuration_imports_nothing_heavy(tmp_path: Path) -> None:
    found = imported(tmp_path, "-c", "import synthclip_hpc.config, synthclip_hpc.config_files")
    assert "synthclip_hpc" in found
    assert found & (HEAVY | {"rich", "tyro"}) == set()


def test_a_plan_for_this_machine_imports_nothing_heavy(tmp_path: Path) -> None:
    words = ["stage=captions", "preset=laptop", "dry-run=true", "cluster=local", f"run={tmp_path / 'run'}"]
    assert imported(tmp_path, "-m", "synthclip_hpc.submit", *words) & (HEAVY | {"rich"}) == set()


def test_a_look_at_a_run_imports_rich_and_nothing_heavier(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make = [
        "from pathlib import Path",
        "from synthclip_hpc.config import RunConfig",
        "from synthclip_hpc.run import Run",
        f"Run(Path({str(run)!r})).create(RunConfig(), {{}})",
    ]
    imported(tmp_path, "-c", "\n".join(make))
    found = imported(tmp_path, "-m", "synthclip_hpc.status", "--once", f"run={run}")
    assert "rich" in found
    assert found & HEAVY == set()
