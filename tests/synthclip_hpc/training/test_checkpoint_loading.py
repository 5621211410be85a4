"""Going on from the newest whole checkpoint, whatever happened to the others."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from sharding.files import checksum
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.checkpoints import checking
from synthclip_hpc.training.checkpoints.checking import verify
from synthclip_hpc.training.checkpoints.layout import FileFacts, Manifest
from synthclip_hpc.training.checkpoints.loading import list_checkpoints, load_state, open_checkpoint
from tests.synthclip_hpc.training.checkpoint_folder import (
    INPUTS,
    PLAN,
    flip_a_bit,
    newest,
    newest_or_none,
    published,
    save,
    saver,
    truncate,
)

ROOT = Path(__file__).parents[3]


def test_without_checkpoints_there_is_nothing_to_go_on_from(tmp_path):
    assert newest_or_none(tmp_path / "never made") is None and list_checkpoints(tmp_path) == []


def test_the_newest_is_read_back_equal(tmp_path):
    save(saver(tmp_path), 9, 10)
    found = newest(tmp_path)
    loaded = load_state(found)
    assert found.step == loaded["step"] == 10 and loaded["scale"] is None
    assert torch.equal(loaded["model"]["weight"], torch.full((64, 64), 10.0))
    # The optimiser keeps what it is given: nothing of it may be mapped from a file that will be removed.
    shutil.rmtree(found.path)
    loaded["model"]["weight"] += 1


def edited(path: Path) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "samples": 0}))


def of_next_schema(path: Path) -> None:
    from sharding.canonical import canonical_json, fingerprint

    record = json.loads(path.read_text())
    del record["fingerprint"]
    record["schema"] = 2
    path.write_bytes(canonical_json({**record, "fingerprint": fingerprint(record)}))


@pytest.mark.parametrize(
    ("damage", "name", "reason"),
    [
        (flip_a_bit, "state.pt", "state.pt has the sha256"),
        (truncate, "state.pt", "bytes instead of"),
        (Path.unlink, "state.pt", "state.pt cannot be read: No such file"),
        (truncate, "checkpoint.json", "checkpoint.json is damaged"),
        (flip_a_bit, "checkpoint.json", "checkpoint.json is damaged"),
        (edited, "checkpoint.json", "its fingerprint differs"),
        (of_next_schema, "checkpoint.json", "has schema 2"),
        (Path.unlink, "checkpoint.json", "checkpoint.json cannot be read: No such file"),
    ],
)
def test_a_broken_one_is_skipped_loudly_for_the_next_older(tmp_path, damage, name, reason):
    save(saver(tmp_path), 1, 2)
    damage(tmp_path / "step-00000002" / name)
    told: list[str] = []
    assert newest(tmp_path, told).step == 1
    assert len(told) == 1 and told[0].startswith("BROKEN CHECKPOINT skipped") and reason in told[0]
    assert "step-00000002" in told[0]


def test_a_checkpoint_under_the_name_of_another_step_is_broken(tmp_path):
    save(saver(tmp_path), 1, 2)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / "step-00000003")
    told: list[str] = []
    assert newest(tmp_path, told).step == 2 and "is of step 1" in told[0]


def test_when_all_are_broken_each_is_told_with_its_reason_and_the_next_step(tmp_path):
    save(saver(tmp_path), 1, 2)
    flip_a_bit(tmp_path / "step-00000001" / "state.pt")
    truncate(tmp_path / "step-00000002" / "state.pt")
    with pytest.raises(UserError) as raised:
        newest(tmp_path)
    text = str(raised.value)
    assert "step-00000001: state.pt has the sha256" in text and "step-00000002: state.pt has" in text
    assert "Restore one of them" in text and "start training anew" in text


@pytest.mark.parametrize(("key", "word"), [("plan_hash", "another plan"), ("inputs_hash", "another data set")])
def test_one_of_another_plan_or_data_set_is_refused_with_both_hashes(tmp_path, key, word):
    save(saver(tmp_path, **{key: "c" * 64}), 1)
    with pytest.raises(UserError) as raised:
        newest(tmp_path)
    text = str(raised.value)
    ours = PLAN if key == "plan_hash" else INPUTS
    assert word in text and "c" * 64 in text and ours in text and "train.init=PATH" in text


def test_ranks_open_the_one_that_rank_0_names(tmp_path):
    save(saver(tmp_path), 1, 2)
    assert open_checkpoint(tmp_path, 1, plan_hash=PLAN, inputs_hash=INPUTS).step == 1
    flip_a_bit(tmp_path / "step-00000001" / "state.pt")
    with pytest.raises(UserError, match="a file system that all nodes share"):
        open_checkpoint(tmp_path, 1, plan_hash=PLAN, inputs_hash=INPUTS)


def test_one_removed_while_it_is_read_is_no_broken_one(tmp_path, monkeypatch):
    """An attempt that lives on saves a newer one and removes this one in the meantime."""
    save(saver(tmp_path), 1)
    other, real = saver(tmp_path, "1_0_1"), checking.check_content

    def removed_meanwhile(path, manifest):
        monkeypatch.setattr(checking, "check_content", real)
        save(other, 2, 3)
        return real(path, manifest)

    monkeypatch.setattr(checking, "check_content", removed_meanwhile)
    told: list[str] = []
    assert newest(tmp_path, told).step == 3 and told == []


def test_the_list_comes_from_the_manifests_alone(tmp_path):
    save(saver(tmp_path, keep=4), 1, 2)
    save(saver(tmp_path, keep=4), 3, marked=True)
    truncate(tmp_path / "step-00000002" / "checkpoint.json")
    size = (tmp_path / "step-00000001" / "state.pt").stat().st_size
    (tmp_path / "step-00000001" / "state.pt").unlink()
    listed = list_checkpoints(tmp_path)
    assert [(one.step, one.epoch, one.samples, one.marked) for one in listed] == [
        (3, 0.3, 24, True),
        (1, 0.1, 8, False),
    ]
    assert listed[1].size_bytes == size and listed[0].age_s(listed[0].saved_at + 60) == 60


class Code:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_code_in_a_state_is_refused_and_not_run(tmp_path, write):
    save(saver(tmp_path / "checkpoints"), 1)
    folder = tmp_path / "checkpoints" / "step-00000001"
    write({"model": Code(tmp_path / "ran")}, folder / "state.pt")
    manifest = Manifest.from_bytes((folder / "checkpoint.json").read_bytes())
    facts = FileFacts(*checksum(folder / "state.pt"))
    forged = Manifest(**{**vars(manifest), "files": {"state.pt": facts}})
    (folder / "checkpoint.json").write_bytes(forged.to_bytes())
    with pytest.raises(UserError, match="Nothing of it was run"):
        load_state(newest(tmp_path / "checkpoints"))
    assert not (tmp_path / "ran").exists()


CHILD = """
import sys
from pathlib import Path
import torch
from tests.synthclip_hpc.training.checkpoint_folder import newest_or_none, saver
folder = Path(sys.argv[1])
found = newest_or_none(folder)
step = 0 if found is None else found.step
one = saver(folder, sys.argv[2])
while True:
    step += 1
    one.save({"weight": torch.full((300_000,), float(step))}, step=step, epoch=0, samples=step)
    print(step, flush=True)
"""


def test_killed_at_any_moment_there_is_always_a_whole_one_to_go_on_from(tmp_path):
    """A real child that saves without a pause, killed with SIGKILL again and again; the next one goes on."""
    dice, last = random.Random(0), 0
    for life in range(3):
        words = [sys.executable, "-c", CHILD, str(tmp_path), f"1_0_{life}"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(words, stdout=subprocess.PIPE, env=environ, cwd=ROOT) as child:
            try:
                assert child.stdout is not None
                for _ in range(dice.randint(2, 6)):
                    begun = int(child.stdout.readline())
                time.sleep(dice.uniform(0, 0.02))
            finally:
                child.kill()
        told: list[str] = []
        found = newest(tmp_path, told)
        # A save begins when the one before it is done.
        assert told == [] and found.step >= begun - 1 > last
        last = found.step
        assert load_state(found)["weight"].unique().tolist() == [float(last)]
    save(saver(tmp_path, "1_0_9"), last + 100, last + 101)
    assert sorted(path.name for path in tmp_path.iterdir()) == published(last + 100, last + 101)


def test_before_every_single_effect_on_files_a_kill_would_leave_a_whole_one(tmp_path, monkeypatch):
    folder, snapshot = tmp_path / "checkpoints", tmp_path / "snapshot"
    save(saver(folder), 1, 2)
    found: list[int] = []
    looking = threading.local()

    def look() -> None:
        looking.now = True
        shutil.copytree(folder, snapshot)
        told: list[str] = []
        found.append(newest(snapshot, told).step)
        assert told == []
        # Those on their way out too: no name leads to a half of one.
        for listed in snapshot.glob("step-*"):
            verify(listed)
        shutil.rmtree(snapshot)
        looking.now = False

    def looked_at(real):
        def effect(*args, **words):
            if not getattr(looking, "now", False):
                look()
            return real(*args, **words)

        return effect

    for name in ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, looked_at(getattr(os, name)))
    save(saver(folder, "1_0_1"), 3, 4)
    save(saver(folder, "1_0_2"), 4, marked=True)
    monkeypatch.undo()
    assert found == sorted(found) and set(found) == {2, 3, 4} and len(found) > 60
    assert sorted(path.name for path in folder.iterdir()) == published(3, 4)


def test_the_list_needs_no_torch(tmp_path):
    save(saver(tmp_path), 4)
    code = (
        "import sys; from pathlib import Path\n"
        "from synthclip_hpc.training.checkpoints.loading import list_checkpoints, newest_valid\n"
        "print(list_checkpoints(Path(sys.argv[1]))[0].step, 'torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True).stdout == "4 False\n"
