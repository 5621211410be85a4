"""A real terminal is put right whatever ends the screen."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.synthclip_hpc.app import REPOSITORY, environment

ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"
SHOWN_CURSOR = b"\x1b[?25h"
STATUS = ("-m", "synthclip_hpc.status", "demo=true")
# The recorded run; at the word of a file it fails as a bug of ours would.
BUGGY = (
    "-c",
    """
import pathlib, sys
from synthclip_hpc.monitor.recording import DEMO, load
from synthclip_hpc.screen.recorded import RecordedFeed
from synthclip_hpc.screen.session import show_run
class Feed(RecordedFeed):
    pace_s = 0.0
    def look(self):
        if pathlib.Path(sys.argv[1]).exists():
            raise ZeroDivisionError("a bug")
        return super().look()
sys.exit(show_run(Feed(load(DEMO)), "a run"))
""",
)
RECENT = (
    "-c",
    """
import pathlib, sys
from synthclip_hpc.screen.session import choose_run
code = choose_run([pathlib.Path(sys.argv[1]) / "captions"])
sys.exit(code if isinstance(code, int) else 99)
""",
)


@pytest.mark.parametrize(
    ("program", "ending", "code"),
    [
        (STATUS, "q", 0),
        (STATUS, "SIGTERM", 128 + signal.SIGTERM),
        (STATUS, "SIGHUP", 128 + signal.SIGHUP),
        (BUGGY, "a bug", 1),
        (RECENT, "q", 0),
        (RECENT, "SIGTERM", 128 + signal.SIGTERM),
    ],
    ids=["q", "SIGTERM", "SIGHUP", "a bug", "recent runs, q", "recent runs, SIGTERM"],
)
def test_a_real_terminal_is_put_right_when_the_screen_ends(
    program: tuple[str, ...], ending: str, code: int, tmp_path: Path
) -> None:
    pytest.importorskip("textual")
    bug = tmp_path / "bug"
    words = () if program is STATUS else (str(bug),)
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = screen_process([*program, *words], slave)
    try:
        seen = read_until(master, b"captions" if program is not RECENT else b"recent run")
        assert ALTERNATE in seen and NORMAL not in seen
        assert termios.tcgetattr(slave) != before
        if ending == "q":
            os.write(master, b"q")
        elif ending == "a bug":
            bug.touch()
        else:
            process.send_signal(signal.Signals[ending])
        left = read_until(master, NORMAL) + drain(master, process)
        assert process.returncode == code
        assert left.count(NORMAL) == 1 and left.index(SHOWN_CURSOR) > 0
        assert termios.tcgetattr(slave) == before
        if ending == "a bug":  # said where it can be read
            assert b"ZeroDivisionError" in left[left.index(NORMAL) :]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(slave)
        os.close(master)


def test_the_screen_ends_when_its_terminal_is_closed() -> None:
    pytest.importorskip("textual")
    master, slave = pty.openpty()
    process = screen_process(STATUS, slave)
    os.close(slave)
    try:
        read_until(master, b"captions")
        os.close(master)
        process.send_signal(signal.SIGHUP)  # what the system sends to those whose terminal it is
        process.wait(120)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    assert process.returncode == 128 + signal.SIGHUP


def screen_process(program: Sequence[str], terminal: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *program],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=REPOSITORY,
        env=environment(TERM="xterm-256color", COLUMNS="80", LINES="24"),
        start_new_session=True,
    )


def has_more(terminal: int, patience_s: float) -> bool:
    """Tell whether there is something to read; by poll, as select knows no descriptors from 1,024 on."""
    waiting = select.poll()
    waiting.register(terminal, select.POLLIN)
    return bool(waiting.poll(1000 * patience_s))


def read_until(terminal: int, wanted: bytes, patience_s: float = 120.0) -> bytes:
    """Return what was written to a terminal up to something; AssertionError when it does not come."""
    seen, deadline = b"", time.monotonic() + patience_s
    while wanted not in seen:
        assert time.monotonic() < deadline, seen[-2000:]
        if has_more(terminal, 1.0):
            seen += os.read(terminal, 65536)
    return seen


def drain(terminal: int, process: subprocess.Popen[bytes], patience_s: float = 120.0) -> bytes:
    """Read on until the process has ended, which must not wait for its reader; return what there was."""
    seen, deadline = b"", time.monotonic() + patience_s
    while process.poll() is None or has_more(terminal, 0.0):
        assert time.monotonic() < deadline
        if has_more(terminal, 0.1):
            seen += os.read(terminal, 65536)
    return seen
