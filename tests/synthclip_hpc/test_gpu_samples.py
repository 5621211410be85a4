"""GPU samples in the journal, with a stand-in for NVIDIA's library."""

from __future__ import annotations

import builtins
import sys
import threading
from types import SimpleNamespace

import pytest

from sharding.journal import Journal, read_events
from synthclip_hpc.gpu_samples import GpuSampler, sampled_gpu


class _Nvml:
    """Answers with the given (percent, bytes) one after the other; after the last one it fails."""

    class NVMLError(Exception):
        pass

    def __init__(self, samples: list[tuple[int, int]], present: bool = True) -> None:
        self.samples, self.present, self.used = list(samples), present, threading.Event()
        self.asked: list[str] = []

    def nvmlInit(self) -> None:
        if not self.present:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        self.asked.append(f"index {index}")
        return "gpu"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked.append(f"uuid {uuid}")
        return "gpu"

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:
        if not self.samples:
            self.used.set()
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(gpu=self.samples[0][0])

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(used=self.samples.pop(0)[1], total=100)


def events(journal: Journal) -> list[dict[str, object]]:
    journal.close()
    return [{key: value for key, value in event.items() if key != "time"} for event in read_events(journal.path)[0]]


def test_mean_and_most_since_the_last_event(tmp_path):
    journal = Journal(tmp_path / "a.jsonl")
    sampler = GpuSampler(journal, _Nvml([(10, 5), (20, 70), (60, 6), (1, 2)]), ["gpu"])
    sampler.write()
    for _ in range(3):
        sampler.look()
    sampler.write()
    sampler.look()
    sampler.write()
    told = {"event": "gpu", "memory_total_bytes": 100, "gpus": 1}
    assert events(journal) == [
        told | {"utilisation_percent": 30.0, "memory_bytes": 70, "samples": 3},
        told | {"utilisation_percent": 1.0, "memory_bytes": 2, "samples": 1},
    ]


def test_of_several_gpus_the_mean_and_the_fullest(tmp_path):
    journal = Journal(tmp_path / "a.jsonl")
    sampler = GpuSampler(journal, _Nvml([(100, 5), (0, 90), (100, 7), (40, 6)]), ["gpu 0", "gpu 1"])
    for _ in range(2):
        sampler.look()
    sampler.write()
    told = {"event": "gpu", "memory_total_bytes": 100, "gpus": 2}
    assert events(journal) == [told | {"utilisation_percent": 60.0, "memory_bytes": 90, "samples": 2}]


def test_a_thread_samples_until_the_work_ends_or_the_gpu_is_lost(tmp_path, monkeypatch):
    nvml = _Nvml([(50, 1)] * 5)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    journal = Journal(tmp_path / "a.jsonl")
    with sampled_gpu(journal, look_every_s=0.001, write_every_s=0.002):
        assert nvml.used.wait(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "gpu-samples"]
    *samples, lost, last = events(journal)
    assert [event["samples"] for event in (*samples, last)] == [2, 2, 1]
    assert lost == {"event": "gpu_unknown", "reason": "GPU is lost"}


@pytest.mark.parametrize(
    ("visible", "count", "asked"),
    [
        (None, 1, ["index 0"]),
        (None, 2, ["index 0", "index 1"]),
        ("2,3", 1, ["index 2"]),
        ("2,3,5", 2, ["index 2", "index 3"]),
        ("GPU-ab12,GPU-cd", 1, ["uuid GPU-ab12"]),
        ("", 1, ["index 0"]),
    ],
)
def test_the_gpus_that_cuda_shows_first_are_sampled(tmp_path, monkeypatch, visible, count, asked):
    nvml = _Nvml([])
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with sampled_gpu(Journal(tmp_path / "a.jsonl"), count, look_every_s=60):
        pass
    assert nvml.asked == asked


def test_without_a_driver_the_journal_says_so_and_the_work_goes_on(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", _Nvml([], present=False))
    journal = Journal(tmp_path / "a.jsonl")
    with sampled_gpu(journal):
        done = True
    assert done and events(journal) == [{"event": "gpu_unknown", "reason": "Driver Not Loaded"}]


def test_without_the_package_the_journal_says_so(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name: str, *more: object, **options: object) -> object:
        if name == "pynvml":
            raise ModuleNotFoundError(name)
        return real(name, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    journal = Journal(tmp_path / "a.jsonl")
    with sampled_gpu(journal):
        pass
    assert events(journal) == [{"event": "gpu_unknown", "reason": "the package nvidia-ml-py is not installed"}]
