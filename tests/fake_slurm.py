"""A Slurm without a cluster: small programs on the PATH which record how they were called and answer as told."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun")


@dataclass(frozen=True)
class FakeSlurm:
    """`programs` is on the PATH; the programs keep their state beside it."""

    programs: Path
    state: Path

    def answer(self, program: str, *answers: dict[str, Any]) -> None:
        """What a program says, call by call (stdout, stderr, exit, sleep_s); the last answer is repeated."""
        (self.state / f"{program}.answers").write_text(json.dumps(answers))

    def calls(self, program: str) -> list[dict[str, Any]]:
        """The calls so far: argv less the program, and its environment."""
        path = self.state / f"{program}.calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def arguments(self, program: str) -> list[list[str]]:
        return [call["argv"] for call in self.calls(program)]

    def scripts(self) -> list[str]:
        """What sbatch was given, in order."""
        return [call["script"] for call in self.calls("sbatch")]

    def remove(self, program: str) -> None:
        (self.programs / program).unlink()


@pytest.fixture
def fake_slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    home = tmp_path_factory.mktemp("fake-slurm")
    programs, state = home / "bin", home / "state"
    programs.mkdir()
    state.mkdir()
    source = Path(__file__).with_name("fake_program.py").read_text()
    for name in _PROGRAMS:
        program = programs / name
        program.write_text(f"#!{sys.executable} -IS\n{source}")
        program.chmod(0o755)
    for name in ("bash", "env"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    # Only these: a real Slurm on the machine must not answer.
    monkeypatch.setenv("PATH", str(programs))
    yield FakeSlurm(programs, state)
