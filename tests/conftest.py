"""Fixtures that tests of several packages share."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.onemachine import Lab, down, install_advice, missing_programs, up
from slurm.onemachine.directory import is_lab_directory
from slurm.onemachine.processes import identify

_PREFIX = "slurm-lab-"


@pytest.fixture(scope="session")
def slurm_lab() -> Iterator[Lab]:
    """A running cluster of four nodes, one for the whole session; SLURM_CONF leads to it from then on."""
    require_slurm_programs()
    remove_abandoned_labs()
    # Not tmp_path: its name takes too much of what a Unix socket path holds.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-") as base:
        directory = Path(base) / "lab"
        try:
            lab = up(directory, grace_s=5, slurmd_timeout_s=15)
            for name, value in lab.environment().items():
                patch.setenv(name, value)
            yield lab
        finally:
            down(directory)


def require_slurm_programs() -> None:
    """Skip the test where Slurm is not installed, but fail where continuous integration promised it."""
    missing = missing_programs()
    if missing and os.environ.get("CI"):
        pytest.fail(install_advice(missing))
    if missing:
        pytest.skip(install_advice(missing))


def remove_abandoned_labs() -> None:
    """Stop the labs of test sessions that were killed: their names hold the pid of a process which is gone."""
    for base in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        match = re.match(rf"{_PREFIX}(\d+)-", base.name)
        mine = base.stat().st_uid == os.geteuid()
        if match and mine and identify(int(match[1])) is None:
            if is_lab_directory(base / "lab"):
                down(base / "lab")
            shutil.rmtree(base)
