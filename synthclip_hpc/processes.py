"""Processes of this machine, told apart from later ones that got the same number."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from typing import Any

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def identify(pid: int) -> dict[str, Any]:
    """Return what identifies a live process: host, pid and its start time in clock ticks since boot."""
    return {"host": platform.node(), "pid": pid, "start_ticks": _start_ticks(pid)}


def is_alive(who: dict[str, Any] | None) -> bool:
    """Tell whether the process that `identify` described still runs on this host (a zombie does not run)."""
    if not who or who.get("host") != platform.node():
        return False
    ticks = _start_ticks(int(who["pid"]))
    return ticks is not None and ticks == who.get("start_ticks")


def is_elsewhere(who: dict[str, Any] | None) -> bool:
    """Tell whether the process is on another host, where nothing can be said about it from here."""
    return bool(who) and who is not None and who.get("host") != platform.node()


def _start_ticks(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command name is in parentheses and may hold spaces and parentheses itself.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return _without_proc(pid)
    return None if fields[0] == b"Z" else int(fields[19])


def _without_proc(pid: int) -> int | None:
    if os.path.isdir("/proc/self"):  # noqa: PTH112
        return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return 0


def end_with(parent_pid: int) -> None:
    """Let the kernel end this process when its parent ends, however that ends; call it first of all."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)  # the parent died before this process had asked to end with it
