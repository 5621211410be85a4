"""Slurm's programs, faked, for a process that is measured."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests import fake_slurm
from tests.fake_slurm import FakeSlurm

_SOURCE = Path(fake_slurm.__file__).with_name("fake_program.py")


def install(home: Path, *names: str) -> FakeSlurm:
    """Write the named programs below `home`; `path_with` puts them on the PATH."""
    fake = FakeSlurm(home / "bin", home / "state")
    fake.programs.mkdir(parents=True)
    fake.state.mkdir()
    for name in names:
        program = fake.programs / name
        program.write_text(f"#!{sys.executable} -IS\n{_SOURCE.read_text(encoding='utf-8')}", encoding="utf-8")
        program.chmod(0o755)
    return fake


def path_with(fake: FakeSlurm) -> str:
    """The PATH with the faked programs before all others."""
    return f"{fake.programs}{os.pathsep}{os.environ['PATH']}"
