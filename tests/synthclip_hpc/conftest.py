"""Fixtures of the tests of the application."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_slurm import fake_slurm
from tests.synthclip_hpc.app import App, work_off

__all__ = ["app", "at_once", "fake_slurm"]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Commands on a run in a fresh directory, free of what this machine's environment says."""
    for key in ("SYNTHCLIP_RUN", "SLURM_CONF", "COLUMNS"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("synthclip_hpc.monitor.follow.REFRESH_S", 0.1)
    before = dict(os.environ)
    yield App(tmp_path / "run")
    # Commands set variables of a cluster for the programs they start.
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered from one test to the next, and nothing of tests in the user's cache."""
    folder = tmp_path_factory.getbasetemp() / f"remembered-{secrets.token_hex(4)}"
    monkeypatch.setattr("synthclip_hpc.remembered.remembering_folder", lambda: folder)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local submissions are worked off by the command itself: no processes, so a test takes milliseconds."""
    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", work_off)
