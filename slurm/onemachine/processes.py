"""Processes named by pid and start time, so that a pid which now belongs to somebody else is never signalled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.03
_started_here: set[int] = set()


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    start_ticks: int
    """Clock ticks between boot and the start of the process (/proc/PID/stat, field 22)."""

    def is_alive(self) -> bool:
        return identify(self.pid) == self

    def send(self, signal_number: int) -> None:
        """Signal the process if it still is the same one; one that has ended is left alone."""
        if self.is_alive():
            try:
                os.kill(self.pid, signal_number)
            except ProcessLookupError:
                return


@dataclass(frozen=True)
class Status:
    """One line of the process table."""

    process: Process
    parent_pid: int
    command: str


def identify(pid: int) -> Process | None:
    """The process which has `pid` now; None when there is none or only a zombie that nobody has reaped."""
    status = read_status(pid)
    return None if status is None else status.process


def read_status(pid: int) -> Status | None:
    """`/proc/PID/stat` of a living process; None when it has ended."""
    _reap(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return parse_status(text)


def parse_status(text: str) -> Status | None:
    """The text of a `/proc/PID/stat`; None for a process that has ended and only waits to be reaped."""
    # The command stands in parentheses and may hold any character, a closing parenthesis too.
    head, _, tail = text.rpartition(")")
    pid, _, command = head.partition(" (")
    fields = tail.split()
    if fields[0] in "ZX":
        return None
    return Status(Process(int(pid), int(fields[19])), int(fields[1]), command)


def process_table() -> dict[int, Status]:
    """Every living process of the machine that can be seen, by pid."""
    found = (read_status(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {status.process.pid: status for status in found if status is not None}


def initial_environment(pid: int) -> dict[str, str]:
    """The environment with which a process was started; empty when it has ended or is somebody else's."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    pairs = (entry.partition("=") for entry in data.decode(errors="replace").split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs}


def start_daemon(directory: Path, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Start a program that stays in the foreground, detached from this terminal; record it as `name` in `directory`.

    What it prints goes to log/NAME.out. In the foreground form its pid is known at once, with no file to wait for.
    """
    with open(directory / "log" / f"{name}.out", "ab") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory / "log",
            start_new_session=True,
        )
    process = identify(child.pid)
    # The daemon is meant to outlive this process: without a return code Popen would warn that it was never waited for.
    child.returncode = 0
    _started_here.add(child.pid)
    if process is None:
        process = Process(child.pid, 0)
    write_atomically(
        _record_path(directory, name), json.dumps({"pid": process.pid, "start_ticks": process.start_ticks})
    )
    return process


def recorded(directory: Path, name: str) -> Process | None:
    """The living process recorded as `name`; None when it has ended, never started, or its record cannot be read."""
    try:
        values = json.loads(_record_path(directory, name).read_text())
        process = Process(values["pid"], values["start_ticks"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return process if process.is_alive() else None


def recorded_names(directory: Path) -> list[str]:
    """Names under which daemons were recorded, alive or not."""
    return sorted(path.stem for path in (directory / "pid").glob("*.json"))


def stop(processes: Iterable[Process], timeout_s: float = 10.0) -> None:
    """SIGTERM all at once, wait until they have ended, SIGKILL what has not after `timeout_s`."""
    remaining = [process for process in processes if process.is_alive()]
    for process in remaining:
        process.send(signal.SIGTERM)
    if not wait_until(lambda: not any(process.is_alive() for process in remaining), timeout_s):
        kill(remaining)


def kill(processes: Iterable[Process]) -> None:
    """SIGKILL all and wait until the kernel has let go of them."""
    remaining = list(processes)
    for process in remaining:
        process.send(signal.SIGKILL)
    wait_until(lambda: not any(process.is_alive() for process in remaining), 5.0)


def wait_until(condition: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S) -> bool:
    """Whether `condition` came true within `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(poll_s)
    return True


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace `path` in one step, so that a reader or a crash never meets half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _record_path(directory: Path, name: str) -> Path:
    return directory / "pid" / f"{name}.json"


def _reap(pid: int) -> None:
    # A daemon started by this very process (tests do) stays a zombie until asked for. No other child may be touched:
    # its exit status belongs to whoever started it.
    if pid not in _started_here:
        return
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        _started_here.discard(pid)
