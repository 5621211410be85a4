"""Is this node fit to work? Looked at by each element before its first shard, in a fraction of a second.

A node with a dead GPU or a broken mount fails whatever is sent to it, faster than others work: left alone it would eat
a whole array. So an element that finds its node unfit leaves its share to other nodes, with a reason of its own.

Only what is the node's fault counts. A run's file system that is full is full for all nodes, and the work says so in
its own words (OSError); a node that cannot tell about its GPUs (no NVML) is given the benefit of the doubt.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXIT_UNFIT = 75
"""Exit code of a worker whose node is unfit (sysexits.h calls it a temporary failure: try again elsewhere)."""
CAUSE = "node_unfit"
"""Why such an attempt ended, in its journal and in all counts."""
WRITE_TIMEOUT_S = 30.0
LEAST_TEMP_BYTES = 16 << 20
"""Room that libraries need for their scratch: compiled kernels, sockets, unpacked files."""
_PROBE_BYTES = 4096
# What the file system answers when there is no room: for every node the same.
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Fault:
    """Something that makes a node unfit."""

    part: str
    """`gpu`, `files` (the run's file system) or `temp` (the folder for temporary files)."""
    message: str


class NodeUnfit(Exception):
    """The node cannot do the work; the message names it and says why."""

    def __init__(self, node: str, faults: Sequence[Fault]) -> None:
        super().__init__(f"node {node} is unfit: {'; '.join(fault.message for fault in faults)}")
        self.node = node
        self.faults = tuple(faults)


Look = Callable[[Path, int], list[Fault]]
"""Takes the phase's directory and the number of GPUs the work takes (0: none), returns what is wrong with this node."""


def look_at_node(folder: Path, num_gpus: int) -> list[Fault]:
    """Look at the GPUs that Slurm gave, at the folder for temporary files, and write into `folder`.

    Raises OSError (ENOSPC, EDQUOT) when the file system of `folder` is full, which is no fault of the node.
    """
    found = [write_fault(folder, WRITE_TIMEOUT_S), temp_fault(LEAST_TEMP_BYTES)]
    if num_gpus:
        found.append(gpu_fault(os.environ, _nvml()))
    return [fault for fault in found if fault is not None]


def write_fault(folder: Path, timeout_s: float, probe: Callable[[Path], None] | None = None) -> Fault | None:
    """Create, flush, read back and remove a small file in `folder`, within `timeout_s` seconds.

    Raises OSError when the file system is full.
    """
    outcome: list[OSError | None] = []
    path = folder / f".node-check.{secrets.token_hex(8)}.tmp"

    def write() -> None:
        try:
            (probe or _write_and_read_back)(path)
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    if not within(timeout_s, write):
        return Fault("files", f"writing to {folder} takes more than {timeout_s:g} s")
    [error] = outcome
    if error is None:
        return None
    if error.errno in _FULL:
        raise error
    return Fault("files", f"cannot write to {folder}: {error.strerror or error}")


def temp_fault(least_bytes: int, find: Callable[[], str] = tempfile.gettempdir) -> Fault | None:
    """Look for a folder for temporary files that can be written to and has `least_bytes` free."""
    try:
        folder = find()
        room = os.statvfs(folder)
    except OSError as error:
        return Fault("temp", f"no folder for temporary files: {error.strerror or error}")
    free_bytes = room.f_bavail * room.f_frsize
    if free_bytes < least_bytes:
        return Fault("temp", f"{folder} has {free_bytes >> 20} MiB free, wanted {least_bytes >> 20}")
    # A file system that does not count its inodes says 0 of 0.
    return Fault("temp", f"{folder} has no inodes left") if room.f_files and not room.f_favail else None


def gpu_fault(environ: Mapping[str, str], nvml: Any) -> Fault | None:
    """Look whether each GPU that Slurm gave this job is there and answers; `nvml` is the module pynvml, or None.

    Outside of a Slurm job, and where NVML is not installed, nothing is known and nothing is wrong.
    """
    given = _given_gpus(environ)
    if nvml is None or not given:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError_LibraryNotFound:
        return None  # a container without NVIDIA's tools; the driver may work all the same
    except nvml.NVMLError as error:
        return Fault("gpu", f"{len(given)} GPUs were given, their driver does not answer: {error}")
    try:
        silent = [f"GPU {name}: {reason}" for name in given if (reason := _silence(nvml, name)) is not None]
    finally:
        nvml.nvmlShutdown()
    if silent:
        return Fault("gpu", f"{len(silent)} of the {len(given)} GPUs given do not answer ({'; '.join(silent)})")
    return None


def within(timeout_s: float, action: Callable[[], object]) -> bool:
    """Do something that may hang in the kernel, where no signal reaches it; False when it takes longer."""
    thread = threading.Thread(target=action, name="node-check", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return not thread.is_alive()


def _write_and_read_back(path: Path) -> None:
    content = secrets.token_bytes(_PROBE_BYTES)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
        found = os.pread(descriptor, _PROBE_BYTES, 0)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)
    if found != content:
        raise OSError(errno.EIO, f"{len(content)} bytes written, {len(found)} others read back")


def _given_gpus(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the GPUs that Slurm gave: numbers from 0 on, or ids such as `GPU-…` and `MIG-…`."""
    number = environ.get("SLURM_GPUS_ON_NODE", "")
    if not number.isdigit():
        return []
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(index) for index in range(int(number))]
    # With GPUs bound to tasks this process has fewer than its node; `NoDevFiles` is Slurm's word for none.
    names = [word.strip() for word in visible.split(",")]
    return [name for name in names if name.isdigit() or name.startswith(("GPU-", "MIG-"))]


def _silence(nvml: Any, name: str) -> str | None:
    """Return why a GPU does not answer; None for one that does."""
    try:
        by_number = name.isdigit()
        handle = nvml.nvmlDeviceGetHandleByIndex(int(name)) if by_number else nvml.nvmlDeviceGetHandleByUUID(name)
        nvml.nvmlDeviceGetMemoryInfo(handle)
    except (nvml.NVMLError_NoPermission, nvml.NVMLError_NotSupported):
        return None  # an answer all the same: of a GPU that is cut into parts the whole may be none of our business
    except nvml.NVMLError as error:
        return str(error)
    return None


def _nvml() -> Any:
    try:
        import pynvml  # what the package nvidia-ml-py installs
    except ImportError:
        return None
    return pynvml
