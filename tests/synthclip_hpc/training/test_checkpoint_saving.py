"""Saving: what is copied, what is published, and what a second writer or a full disk changes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sharding import files
from synthclip_hpc.training.checkpoints import writing
from synthclip_hpc.training.checkpoints.layout import temporary_name
from synthclip_hpc.training.checkpoints.loading import list_checkpoints, load_state
from synthclip_hpc.training.checkpoints.staging import Staging
from tests.synthclip_hpc.training.checkpoint_folder import (
    INPUTS,
    PLAN,
    flip_a_bit,
    names,
    newest,
    published,
    save,
    saver,
    state,
    truncate,
)


def hold_writes(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let the background wait in its first write: (it is there, it may go on)."""
    there, go_on = threading.Event(), threading.Event()
    real = writing._write_state

    def slow(path, value):
        there.set()
        assert go_on.wait(20)
        return real(path, value)

    monkeypatch.setattr(writing, "_write_state", slow)
    return there, go_on


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted as root")
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_checkpoint_is_two_files_and_its_manifest_tells_all_of_them(tmp_path):
    one = saver(tmp_path / "checkpoints", world_size=4)
    save(one, 7, marked=True)
    folder = tmp_path / "checkpoints" / "step-00000007"
    assert names(folder) == ["checkpoint.json", "state.pt"]
    manifest = json.loads((folder / "checkpoint.json").read_text())
    size, sha256 = files.checksum(folder / "state.pt")
    assert manifest["files"] == {"state.pt": {"bytes": size, "sha256": sha256}}
    facts = {"schema": 1, "step": 7, "epoch": 0.7, "samples": 56, "world_size": 4, "marked": True, "attempt": "1_0_0"}
    assert {key: manifest[key] for key in facts} == facts
    assert (manifest["plan_hash"], manifest["inputs_hash"]) == (PLAN, INPUTS)
    assert manifest["versions"]["torch"] == torch.__version__
    assert one.last_step == 7 and one.last_seconds >= manifest["seconds"] >= 0


def test_what_training_changes_after_save_is_not_in_the_checkpoint(tmp_path, monkeypatch):
    there, go_on = hold_writes(monkeypatch)
    weight = torch.arange(6.0)
    mutable = {"weight": weight, "rng": torch.get_rng_state(), "betas": [0.9, 0.98]}
    one = saver(tmp_path)
    one.save(mutable, step=1, epoch=0, samples=8)
    assert there.wait(20)
    weight.zero_()
    mutable["betas"].append(1.0)
    go_on.set()
    one.wait()
    loaded = load_state(newest(tmp_path))
    assert loaded["weight"].tolist() == [0, 1, 2, 3, 4, 5] and loaded["betas"] == [0.9, 0.98]


def test_the_next_save_waits_for_the_one_at_work_and_reuses_its_memory(tmp_path, monkeypatch):
    there, go_on = hold_writes(monkeypatch)
    one = saver(tmp_path)
    one.save(state(1), step=1, epoch=0, samples=8)
    assert there.wait(20)
    second = threading.Thread(target=one.save, args=(state(2),), kwargs={"step": 2, "epoch": 0, "samples": 16})
    second.start()
    second.join(0.2)
    assert second.is_alive() and names(tmp_path) == [".step-00000001.1_0_0.tmp"]
    go_on.set()
    second.join(20)
    one.wait()
    assert names(tmp_path) == published(1, 2)
    for checkpoint, value in zip(list_checkpoints(tmp_path), (2.0, 1.0), strict=True):
        weight = torch.load(checkpoint.path / "state.pt", weights_only=True)["model"]["weight"]
        assert weight.unique().tolist() == [value]


def test_copies_keep_types_and_layouts_and_share_nothing():
    image = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    view = torch.randn(1000)[:3]
    parameter = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    plain = {"none": None, "flag": True, "pair": (1, "x"), 0: [b"raw", 2.5]}
    staging = Staging()
    original = {"image": image, "view": view, "parameter": parameter, "ordered": OrderedDict(a=plain)}
    copied = staging.copy(original)
    assert copied["image"].stride() == image.stride() and torch.equal(copied["image"], image)
    assert copied["view"].untyped_storage().nbytes() == 12
    assert copied["parameter"].dtype == torch.bfloat16 and not copied["parameter"].requires_grad
    assert copied["ordered"] == {"a": plain} and type(copied["ordered"]) is dict
    assert copied["image"].data_ptr() != image.data_ptr()
    again = staging.copy(original)
    assert again["image"].data_ptr() == copied["image"].data_ptr()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_of_a_gpu_are_copied_to_pinned_memory_and_are_there_at_once():
    weight = torch.randn(1 << 20, device="cuda")
    expected = weight.cpu()
    staging = Staging()
    copied = staging.copy({"weight": weight})["weight"]
    weight.zero_()
    assert copied.is_pinned() and torch.equal(copied, expected)
    assert staging.copy({"weight": weight})["weight"].data_ptr() == copied.data_ptr()


def test_a_value_that_would_be_pickled_as_code_is_refused_with_its_place(tmp_path):
    with pytest.raises(TypeError, match=r"state\['optimizer'\]\['groups'\]\[1\] is a numpy.float64"):
        saver(tmp_path).save({"optimizer": {"groups": [1, np.float64(2)]}}, step=1, epoch=0, samples=8)
    assert names(tmp_path) == []


def test_a_step_is_saved_once_by_one_saver(tmp_path):
    one = saver(tmp_path)
    save(one, 3)
    before = files.identity(tmp_path / "step-00000003" / "state.pt")
    save(one, 3)
    assert files.identity(tmp_path / "step-00000003" / "state.pt") == before
    assert [outcome.step for outcome in one.outcomes()] == [3] and one.outcomes() == []


def test_what_another_attempt_published_first_stays_and_takes_a_mark_over(tmp_path):
    save(saver(tmp_path, "1_0_0"), 5)
    theirs = files.identity(tmp_path / "step-00000005" / "state.pt")
    late = saver(tmp_path, "1_0_1")
    save(late, 5)
    assert files.identity(tmp_path / "step-00000005" / "state.pt") == theirs
    assert [listed.marked for listed in list_checkpoints(tmp_path)] == [False]
    save(saver(tmp_path, "1_0_2"), 5, marked=True)
    assert files.identity(tmp_path / "step-00000005" / "state.pt") == theirs
    assert [listed.marked for listed in list_checkpoints(tmp_path)] == [True]
    assert newest(tmp_path).manifest.attempt == "1_0_0" and names(tmp_path) == published(5)
    assert late.outcomes()[0].kept_existing and not late.failures


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, Path.unlink])
def test_a_broken_one_of_the_same_step_is_replaced_loudly(tmp_path, damage):
    save(saver(tmp_path, "1_0_0"), 5)
    damage(tmp_path / "step-00000005" / "state.pt")
    told: list[str] = []
    late = saver(tmp_path, "1_0_1", tell=told.append)
    save(late, 5)
    assert newest(tmp_path).manifest.attempt == "1_0_1" and names(tmp_path) == published(5)
    assert len(told) == 1 and "step-00000005: state.pt" in told[0] and "is replaced" in told[0]


def test_a_checkpoint_of_another_plan_under_the_same_name_is_left_alone(tmp_path):
    save(saver(tmp_path, plan_hash="c" * 64), 5)
    told: list[str] = []
    ours = saver(tmp_path, "1_0_1", tell=told.append)
    save(ours, 5)
    assert len(ours.failures) == 1 and "another plan" in ours.failures[0]
    assert names(tmp_path) == published(5) and list_checkpoints(tmp_path)[0].step == 5
    assert json.loads((tmp_path / "step-00000005" / "checkpoint.json").read_text())["plan_hash"] == "c" * 64


def test_what_an_earlier_round_of_the_same_attempt_left_is_replaced(tmp_path):
    left = tmp_path / temporary_name(5, "1_0_0")
    left.mkdir()
    (left / "state.pt").write_bytes(b"half")
    save(saver(tmp_path, "1_0_0"), 5)
    assert names(tmp_path) == published(5) and newest(tmp_path).step == 5


def test_a_folder_renamed_away_under_a_living_writer_fails_its_save_and_nothing_else(tmp_path, monkeypatch):
    """The writer lost contact: its successor has gone on and removed what looked dead."""
    save(saver(tmp_path, "1_0_1"), 8)
    real = writing._write_manifest

    def swept_meanwhile(path, manifest):
        monkeypatch.setattr(writing, "_write_manifest", real)
        save(saver(tmp_path, "1_0_1"), 9)
        real(path, manifest)

    monkeypatch.setattr(writing, "_write_manifest", swept_meanwhile)
    old = saver(tmp_path, "1_0_0", tell=lambda text: None)
    save(old, 6)
    assert len(old.failures) == 1 and "No such file" in old.failures[0]
    assert names(tmp_path) == published(8, 9)
    save(old, 10)
    assert newest(tmp_path).step == 10 and len(old.failures) == 1


def test_on_a_full_disk_training_goes_on_and_the_older_checkpoint_stands(small_disk, capsys):
    one = saver(small_disk)
    save(one, 1)
    large = {"weight": torch.zeros(100_000)}
    one.save(large, step=2, epoch=0, samples=16)
    one.wait(raise_errors=False)
    assert names(small_disk) == published(1) and newest(small_disk).step == 1
    assert len(one.failures) == 1 and "No space left on device" in one.failures[0]
    assert "NOT SAVED, 1 so far: checkpoint of step 2: No space left on device" in capsys.readouterr().err
    with pytest.raises(OSError) as raised:
        one.wait(raise_errors=True)
    assert raised.value.errno == errno.ENOSPC
    save(one, 3)
    one.wait(raise_errors=True)
    assert newest(small_disk).step == 3
    assert [(outcome.step, outcome.error is None) for outcome in one.outcomes()] == [(1, True), (2, False), (3, True)]


def test_on_a_full_disk_what_dead_attempts_left_makes_room(small_disk):
    one = saver(small_disk, "1_0_1")
    save(one, 1)
    left = small_disk / temporary_name(4, "1_0_0")
    left.mkdir()
    (left / "state.pt").write_bytes(bytes(190_000))
    told: list[str] = []
    ahead = saver(small_disk, "1_0_1", tell=told.append)
    ahead.save({"weight": torch.zeros(20_000)}, step=3, epoch=0, samples=24)
    ahead.wait()
    # The folder at step 4 may be of one that is ahead of us; once we are as far, it has no use any more.
    assert len(ahead.failures) == 1 and left.name in names(small_disk)
    ahead.save({"weight": torch.zeros(20_000)}, step=4, epoch=0, samples=32)
    ahead.wait()
    assert len(ahead.failures) == 1 and names(small_disk) == published(1, 4)


@pytest.mark.parametrize("primitive", ["write", "fsync"])
def test_an_error_of_the_disk_at_any_point_leaves_no_folder_at_work(tmp_path, monkeypatch, primitive):
    save(saver(tmp_path), 1)
    real, num_calls, last = getattr(os, primitive), 0, 0

    def failing(*args):
        nonlocal num_calls
        num_calls += 1
        if num_calls == last:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*args)

    monkeypatch.setattr(os, primitive, failing)
    for last in range(1, 200):
        num_calls = 0
        one = saver(tmp_path, f"1_0_{last}", tell=lambda text: None)
        save(one, 1 + last)
        assert newest(tmp_path).step and not [name for name in names(tmp_path) if name.startswith(".")]
        if num_calls < last:
            break
    assert last > 3 and not one.failures


def test_an_error_of_our_own_is_raised_where_training_is(tmp_path, monkeypatch):
    def broken(path, value):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(writing, "_write_state", broken)
    one = saver(tmp_path)
    one.save(state(1), step=1, epoch=0, samples=8)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        one.wait()
    one.wait()


def test_a_save_longer_than_the_grace_is_told_once(tmp_path):
    told: list[str] = []
    save(saver(tmp_path, warn_after_s=-1.0, tell=told.append), 1, 2)
    assert len(told) == 1 and "slurm.signal_lead_s" in told[0]
    told.clear()
    save(saver(tmp_path, warn_after_s=3600.0, tell=told.append), 3)
    assert told == []
