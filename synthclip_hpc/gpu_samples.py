"""How busy a worker's GPU is and how full its memory: sampled by NVML in a thread, and told in the journal."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

from sharding.journal import Journal

WRITE_EVERY_S = 30.0
_LOOK_EVERY_S = 1.0
_JOIN_S = 5.0


class GpuSampler:
    """Sums up samples of one GPU; a thread takes them, and each summary becomes an event `gpu`."""

    def __init__(self, journal: Journal, nvml: Any, handle: Any) -> None:
        self._journal = journal
        self._nvml = nvml
        self._handle = handle
        self._percents: list[int] = []
        self._most_bytes = 0
        self._total_bytes = 0

    def look(self) -> None:
        """Take one sample. Raises NVMLError."""
        self._percents.append(int(self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu))
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        self._most_bytes = max(self._most_bytes, int(memory.used))
        self._total_bytes = int(memory.total)

    def write(self) -> None:
        """Tell the journal of the samples since the last time: mean utilisation in percent, most memory in bytes."""
        if not self._percents:
            return
        self._journal.event(
            "gpu",
            utilisation_percent=round(sum(self._percents) / len(self._percents), 1),
            memory_bytes=self._most_bytes,
            memory_total_bytes=self._total_bytes,
            samples=len(self._percents),
        )
        self._percents, self._most_bytes = [], 0

    def run(self, ended: threading.Event, look_every_s: float, write_every_s: float) -> None:
        """Sample until `ended`, and write what is left then. A GPU that cannot be asked any more ends it, told."""
        looks = max(1, round(write_every_s / look_every_s))
        try:
            while not ended.wait(look_every_s):
                self.look()
                if len(self._percents) >= looks:
                    self.write()
        except self._nvml.NVMLError as error:
            self._journal.event("gpu_unknown", reason=str(error))
        self.write()


@contextlib.contextmanager
def sampled_gpu(
    journal: Journal, *, look_every_s: float = _LOOK_EVERY_S, write_every_s: float = WRITE_EVERY_S
) -> Iterator[None]:
    """Sample this process's first GPU meanwhile; every 30 s the journal gets an event `gpu`.

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
        handle = _first_gpu(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except (pynvml.NVMLError, UnicodeError) as error:
        journal.event("gpu_unknown", reason=str(error))
        yield
        return
    ended = threading.Event()
    sampler = GpuSampler(journal, pynvml, handle)
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


def _first_gpu(nvml: Any, visible: str | None) -> Any:
    """Return NVML's handle of the first GPU that CUDA shows this process; NVML itself counts all of the node's."""
    first = (visible or "0").split(",")[0].strip()
    if first.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(first))
    return nvml.nvmlDeviceGetHandleByUUID(first)
