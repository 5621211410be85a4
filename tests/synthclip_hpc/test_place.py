"""How many GPUs a machine has, as far as files and the environment tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthclip_hpc.place import count_gpus


def devices(folder: Path, *names: str) -> Path:
    """A folder of device files; NVIDIA's other ones, and a screen's, are always there."""
    for name in ("nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1", "dri/card0", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], 0),
        (["nvidia0"], 1),
        (["nvidia0", "nvidia1", "nvidia10"], 3),
        (["kfd", "dri/renderD128", "dri/renderD129"], 2),
        (["dri/renderD128"], 0),  # a laptop's own graphics
        (["nvidia0", "kfd", "dri/renderD128", "dri/renderD129"], 1),
    ],
)
def test_gpus_are_counted_by_their_device_files(tmp_path, names, expected):
    assert count_gpus(devices(tmp_path, *names), {}) == expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("", 0),
        (" ", 0),
        ("-1", 0),
        ("NoDevFiles", 0),
        ("1", 1),
        ("0, 1", 2),
        ("0,-1,1", 1),
        ("0,1,2,3,4,5", 4),
        ("GPU-5f7c2a1e,GPU-0d7e11aa", 2),
        ("MIG-1,MIG-2,MIG-3,MIG-4,MIG-5", 5),
    ],
)
def test_the_environment_hides_gpus(tmp_path, visible, expected):
    four = devices(tmp_path, *(f"nvidia{number}" for number in range(4)))
    assert count_gpus(four, {"CUDA_VISIBLE_DEVICES": visible}) == expected


def test_the_environment_makes_no_gpus(tmp_path):
    assert count_gpus(devices(tmp_path), {"CUDA_VISIBLE_DEVICES": "0,1"}) == 0
