"""How busy a worker's GPUs are and how full their memory: sampled by NVML in a thread, and told in the journal."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from sharding.journal import Journal

WRITE_EVERY_S = 30.0
_LOOK_EVERY_S = 1.0
_JOIN_S = 5.0


class GpuSampler:
    """Sums up samples of a worker's GPUs; a thread takes them, and each summary becomes an event `gpu`."""

    def __init__(self, journal: Journal, nvml: Any, handles: Sequence[Any]) -> None:
        self._journal = journal
        self._nvml = nvml
        self._handles = handles
        self._samples = 0
        self._percents: list[int] = []
        self._most_bytes = 0
        self._total_bytes = 0

    def look(self) -> None:
        """Take one sample of each GPU. Raises NVMLError."""
        for handle in self._handles:
            self._percents.append(int(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu))
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            self._most_bytes = max(self._most_bytes, int(memory.used))
            self._total_bytes = int(memory.total)
        self._samples += 1

    def write(self) -> None:
        """Tell the journal of the samples since the last time: mean utilisation in percent, most memory in bytes.

        The mean is over all GPUs, the memory that of the fullest one.
        """
        if not self._percents:
            return
        self._journal.event(
            "gpu",
            utilisation_percent=round(sum(self._percents) / len(self._percents), 1),
            memory_bytes=self._most_bytes,
            memory_total_bytes=self._total_bytes,
            gpus=len(self._handles),
            samples=self._samples,
        )
        self._percents, self._most_bytes, self._samples = [], 0, 0

    def run(self, ended: threading.Event, look_every_s: float, write_every_s: float) -> None:
        """Sample until `ended`, and write what is left then. A GPU that cannot be asked any more ends it, told."""
        looks = max(1, round(write_every_s / look_every_s))
        try:
            while not ended.wait(look_every_s):
                self.look()
                if self._samples >= looks:
                    self.write()
        except self._nvml.NVMLError as error:
            self._journal.event("gpu_unknown", reason=str(error))
        self.write()


@contextlib.contextmanager
def sampled_gpu(
    journal: Journal, count: int = 1, *, look_every_s: float = _LOOK_EVERY_S, write_every_s: float = WRITE_EVERY_S
) -> Iterator[None]:
    """Sample the first `count` GPUs of this process meanwhile; every 30 s the journal gets an event `gpu`.

    Where that cannot be (no package nvidia-ml-py, no driver, no GPU) one event `gpu_unknown` says why, and the work
    goes on without.
    """
    try:
        import pynvml  # what the package nvidia-ml-py installs
    except ImportError:
        journal.event("gpu_unknown", reason="the package nvidia-ml-py is not installed")
        yield
        return
    try:
        pynvml.nvmlInit()
        handles = _first_gpus(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES"), count)
    except (pynvml.NVMLError, UnicodeError) as error:
        journal.event("gpu_unknown", reason=str(error))
        yield
        return
    ended = threading.Event()
    sampler = GpuSampler(journal, pynvml, handles)
    thread = threading.Thread(
        target=sampler.run, args=(ended, look_every_s, write_every_s), name="gpu-samples", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_JOIN_S)
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _first_gpus(nvml: Any, visible: str | None, count: int) -> list[Any]:
    """Return NVML's handles of the first GPUs that CUDA shows this process; NVML itself counts all of the node's."""
    words = [word for one in (visible or "").split(",") if (word := one.strip())] or list(map(str, range(count)))
    return [
        nvml.nvmlDeviceGetHandleByIndex(int(word)) if word.isdigit() else nvml.nvmlDeviceGetHandleByUUID(word)
        for word in words[:count]
    ]
