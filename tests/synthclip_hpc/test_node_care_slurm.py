"""On a real Slurm: a node that is unfit does nothing, draws in few, and the run completes on the others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharding.journal import read_events
from tests.synthclip_hpc.app import App, same_set, spawn

pytestmark = pytest.mark.slurm
BAD = "n1"
WORDS = ("stage=captions", "concepts.bank=emoji", "concepts.limit=240", "captions.shard_items=20")


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system too small for anyone's temporary files."""
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted as root")
    path = tmp_path / "tiny"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_run_with_an_unfit_node_completes_on_the_others(app, at_once, slurm_lab, tiny, tmp_path, monkeypatch):
    for name, value in slurm_lab.environment().items():
        monkeypatch.setenv(name, value)
    calm = App(tmp_path / "calm")
    assert calm("submit", *WORDS).code == 0
    # Four at once: all of them fit on the first node, which Slurm fills before the others.
    size = ("slurm.elements=12", "slurm.throttle=4", "slurm.cpus=1", "slurm.memory=300M", "slurm.time_min=10")
    setup = f'slurm.setup=if [ "$SLURMD_NODENAME" = {BAD} ]; then export TMPDIR={tiny}; fi'
    outcome = spawn("submit", *WORDS, *size, setup, "cluster=slurm", "wait=true", f"run={app.path}", timeout_s=240)
    assert outcome.code == 0, outcome
    assert same_set(app.path) == same_set(calm.path)
    directory = app.run.phase("captions", "write")
    lives = [read_events(directory.journal_path(name))[0] for name in directory.attempts()]
    there = [life for life in lives if life[0].get("role") != "seal" and life[0]["node"] == BAD]
    assert there, "Slurm sent nothing to the unfit node"
    for life in there:
        assert [event["reason"] for event in life if event["event"] == "end"] == ["node_unfit"]
        assert not [event for event in life if event["event"].startswith("shard")]
    # The first to come kept the others away: without that all twelve would have been drawn in.
    assert len(there) <= 4
    done_on = {life[0]["node"] for life in lives if any(event["event"] == "shard_done" for event in life)}
    assert done_on and BAD not in done_on
    captions = app.status()["stages"]["captions"]
    assert (captions["state"], captions["unfit_nodes"], captions["failures"]) == ("done", len(there), 0)
