"""A disk that fills up in the middle of a shard: the attempt says so and ends; `resume` works once there is room."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharding.frames import valid_prefix
from sharding.journal import read_events
from synthclip_hpc.submissions import update
from tests.synthclip_hpc.app import App, call, same_set, work_off

# One shard's partial file alone is larger than the disk.
WORDS = (
    "stage=captions",
    "concepts.bank=emoji",
    "captions.per_concept=20",
    "captions.shard_items=6000",
    "captions.batch_items=64",
)


class Disk:
    """A file system of its own that can be made larger."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mount("size=512k")

    def mount(self, options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        subprocess.run(words, check=True, capture_output=True)

    def make_room(self) -> None:
        self.mount("remount,size=64m")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted as root")
    path = tmp_path / "disk"
    path.mkdir()
    try:
        mounted = Disk(path)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system may be mounted here: {error}")
    yield mounted
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def calm(app, monkeypatch) -> dict[str, str]:
    """What the same configuration comes to where there is room."""
    with monkeypatch.context() as without_processes:
        without_processes.setattr("synthclip_hpc.launch.local.start_supervisor", work_off)
        path = app.path.parent / "calm"
        assert call("submit", *WORDS, f"run={path}", "cluster=local").code == 0
    return same_set(path)


def test_an_attempt_on_a_full_disk_ends_with_that_reason_and_resume_goes_on(app, disk, calm):
    full = App(disk.path / "run")
    outcome = full("submit", *WORDS, "workers=1", "wait=true")
    assert outcome.code == 1, outcome
    captions = full.status()["stages"]["captions"]
    assert captions["shards_done"] == 0
    assert 0 < captions["items_done"] <= 6000
    assert captions["running"] == 0
    assert "No space left on device" in captions["message"]
    assert "No space left on device" in full("status", "--once").words
    directory = full.run.phase("captions", "write")
    [partial] = directory.partials(0)
    _, *batches = valid_prefix(partial.read_bytes())
    kept = sum(len(json.loads(batch)) for batch in batches)
    assert kept > 64
    disk.make_room()
    assert full("resume", "wait=true").code == 0
    captions = full.status()["stages"]["captions"]
    assert (captions["state"], captions["shards_done"], captions["items_done"]) == ("done", 2, 8920)
    assert same_set(full.path) == calm
    # What was made before the disk was full is not made again.
    events = [event for name in directory.attempts() for event in read_events(directory.journal_path(name))[0]]
    resumed = [event["resumed_items"] for event in events if event["event"] == "shard_start" and event["shard"] == 0]
    assert resumed == [0, kept]


def test_two_workers_on_a_full_disk_end_and_resume_makes_the_same_bytes(app, disk, calm):
    full = App(disk.path / "run")
    outcome = full("submit", *WORDS, "workers=2", "wait=true")
    assert outcome.code == 1, outcome
    assert "No space left on device" in outcome.words
    disk.make_room()
    assert full("resume", "wait=true").code == 0
    assert same_set(full.path) == calm


def test_a_command_that_finds_no_room_says_so_and_leaves_a_run_that_can_be_resumed(app, disk, at_once):
    full = App(disk.path / "run")
    ballast = disk.path / "ballast"
    with ballast.open("wb") as file:
        while True:
            try:
                os.write(file.fileno(), bytes(4096))
            except OSError:
                break
    outcome = full("submit", "stage=captions", "concepts.bank=emoji")
    assert outcome.code in (1, 2), outcome
    assert "No space left on device" in outcome.err
    assert "Traceback" not in outcome.err
    ballast.unlink()
    assert full("submit", "stage=captions", "concepts.bank=emoji").code == 0
    assert full.status()["stages"]["captions"]["state"] == "done"


def test_a_disk_that_fills_inside_a_tar_leaves_whole_batches_and_resume_makes_the_same_bytes(app, disk, at_once):
    set_up = ("concepts.bank=emoji", "concepts.limit=20", "balance.target=20", "balance.shard_items=20")
    shape = ("render.size=256", "render.batch_items=2", "workers=1")
    stages = "stage=captions,balance,render"
    assert app("submit", stages, *set_up, *shape).code == 0
    disk.make_room()
    full = App(disk.path / "run")
    assert full("submit", "stage=captions,balance", *set_up).code == 0
    # Some of the images fit, not all.
    [tar] = (app.path / "render/draw/data").rglob("*.tar")
    room = os.statvfs(disk.path)
    (disk.path / "ballast").write_bytes(bytes(room.f_bavail * room.f_bsize - tar.stat().st_size * 3 // 4))
    full("submit", "stage=render", *shape)
    render = full.status()["stages"]["render"]
    assert render["shards_done"] == 0
    assert "No space left on device" in render["message"]
    [partial] = full.run.phase("render", "draw").partials(0)
    assert 0 < partial.stat().st_size < tar.stat().st_size
    (disk.path / "ballast").unlink()
    for one in full.submissions():
        update(one, state="ended")
    assert full("resume").code == 0
    events = [event for path in full.run.phase("render", "draw").journals_path.glob("*")
              for event in read_events(path)[0]]  # fmt: skip
    [first, then] = sorted(event["resumed_items"] for event in events if event["event"] == "shard_start")
    assert first == 0 and then > 0 and then % 2 == 0
    assert same_set(full.path) == same_set(app.path)
