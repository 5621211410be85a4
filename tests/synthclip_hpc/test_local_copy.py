"""Copies of a model on a node's own disk, and how long workers wait before they read one."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from synthclip_hpc.models.fingerprint import fingerprint_files
from synthclip_hpc.models.local_copy import copied
from synthclip_hpc.models.start_delay import start_delay_s
from tests.synthclip_hpc.model_folders import safetensors

WHOLE, WEIGHTS = ("model_index.json", "unet/config.json"), ("unet/weights.safetensors",)


@dataclass(frozen=True)
class _Model:
    name: str
    path: Path
    fingerprint: str
    whole: tuple[str, ...] = WHOLE
    weights: tuple[str, ...] = WEIGHTS


@pytest.fixture
def model(tmp_path) -> _Model:
    folder = tmp_path / "shared" / "tiny"
    (folder / "unet").mkdir(parents=True)
    for name in WHOLE:
        (folder / name).write_text(f'{{"of": "{name}"}}')
    blob = tmp_path / "blob"
    blob.write_bytes(safetensors(b"weights" * 1000))
    (folder / WEIGHTS[0]).symlink_to(blob)  # as a hub snapshot has it
    (folder / "not-used.bin").write_bytes(b"x")
    return _Model("hub/tiny", folder, fingerprint_files(folder, WHOLE, WEIGHTS))


@pytest.fixture
def copies(monkeypatch) -> list[str]:
    """The files that were copied."""
    made: list[str] = []
    real = shutil.copyfile

    def counted(source: Path, target: Path) -> object:
        made.append(Path(source).name)
        return real(source, target)

    monkeypatch.setattr("shutil.copyfile", counted)
    return made


def test_what_is_opened_is_copied_once_and_nothing_else(model, tmp_path, monkeypatch, copies):
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "node"))
    copy = copied(model, "$NODE_DISK/models")
    assert copy == tmp_path / "node/models" / f"tiny-{model.fingerprint[:16]}"
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()) == sorted(WHOLE + WEIGHTS)
    assert not (copy / WEIGHTS[0]).is_symlink()
    assert fingerprint_files(copy, WHOLE, WEIGHTS) == model.fingerprint
    assert copied(model, "$NODE_DISK/models") == copy
    assert len(copies) == 3


def test_of_several_that_start_together_one_copies(model, tmp_path, copies):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: copied(model, str(tmp_path / "node")), range(8)))
    assert len(found) == 1 and len(copies) == 3


def test_a_damaged_copy_is_made_again(model, tmp_path, copies):
    copy = copied(model, str(tmp_path / "node"))
    (copy / WEIGHTS[0]).write_bytes(b"half")
    assert copied(model, str(tmp_path / "node")) == copy
    assert fingerprint_files(copy, WHOLE, WEIGHTS) == model.fingerprint
    assert len(copies) == 6


def test_what_a_killed_worker_left_is_not_believed_and_removed(model, tmp_path):
    node = tmp_path / "node"
    left = node / f".tiny-{model.fingerprint[:16]}.0123456789abcdef.tmp"
    left.mkdir(parents=True)
    (left / WHOLE[0]).write_text("half")
    copied(model, str(node))
    assert not left.exists()


def test_without_room_the_model_s_own_folder_is_used(model, tmp_path, monkeypatch, capsys):
    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"x")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", full)
    assert copied(model, str(tmp_path / "node")) == model.path
    assert "hub/tiny: no room for a copy" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "node").iterdir() if not path.name.endswith(".lock")] == []


def test_a_model_that_changes_meanwhile_is_no_model(model, tmp_path):
    (model.path / WHOLE[0]).write_text("other")
    with pytest.raises(RuntimeError, match="are not what they were"):
        copied(model, str(tmp_path / "node"))
    assert [path.name for path in (tmp_path / "node").iterdir() if not path.name.endswith(".lock")] == []


def test_few_workers_start_at_once_and_many_spread_over_a_minute_at_most():
    assert start_delay_s("100_0_0", 8) == 0
    delays = [start_delay_s(f"100_{index}_0", 1000) for index in range(1000)]
    assert 0 <= min(delays) < 1 and 59 < max(delays) <= 60
    assert abs(sum(delays) / len(delays) - 30) < 2
    assert delays[7] == start_delay_s("100_7_0", 1000) != start_delay_s("100_7_1", 1000)
    assert max(start_delay_s(f"100_{index}_0", 16) for index in range(16)) <= 4
