"""When `status` shows the screen and when it prints, and that a terminal is put right whatever ends the screen."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthclip_hpc.recent import KEPT, recent_runs, remember_run
from synthclip_hpc.status import is_terminal
from tests.synthclip_hpc.app import REPOSITORY, App, call, environment

ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"


def test_the_recorded_run_is_printed_where_there_is_no_terminal() -> None:
    told = call("status", "demo=true")
    assert told.code == 0 and "captions" in told.out and "runs/demo" in told.out
    snapshot = json.loads(call("status", "demo=true", "json=true").out)
    assert snapshot["schema"] == 1 and len(snapshot["stages"]) == 8


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_a_screen_needs_a_terminal_with_colours(
    environ: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_terminal(environ) is False  # under pytest
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: True, raising=False)
    assert is_terminal(environ) is wanted


def test_without_the_extra_the_table_is_shown_again_and_again_until_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("synthclip_hpc.status.is_terminal", lambda environ: True)
    monkeypatch.setattr("synthclip_hpc.status._has_screen", lambda: False)
    monkeypatch.setattr("synthclip_hpc.status.time.sleep", nap)
    monkeypatch.setenv("FORCE_COLOR", "1")  # else nothing is drawn under pytest
    monkeypatch.setenv("TERM", "xterm-256color")
    told = call("status", "demo=true")
    assert told.code == 0 and len(naps) == 3
    assert "synthclip-hpc[screen]" in told.words


@pytest.fixture
def no_temp_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests' runs are in the temporary folder, whose runs are not kept in mind."""
    monkeypatch.setattr("synthclip_hpc.recent.tempfile.gettempdir", lambda: "/nowhere")


def test_a_run_in_the_temporary_folder_is_not_kept_in_mind(tmp_path: Path) -> None:
    (tmp_path / "run.toml").touch()
    remember_run(tmp_path)
    assert recent_runs() == []


@pytest.mark.usefixtures("no_temp_folder")
def test_without_a_run_the_recent_ones_are_told_a_line_each(app: App, tmp_path: Path) -> None:
    assert app("submit", "stage=concepts", "concepts.limit=4", "cluster=local", "wait=true").code == 0
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "run.toml").touch()
    remember_run(gone)
    (gone / "run.toml").unlink()
    told = call("status")
    assert told.code == 0
    assert told.out.splitlines() == [f"{app.path}  1 of 1 stages done"]


@pytest.mark.usefixtures("no_temp_folder")
def test_recent_runs_are_kept_latest_first_and_not_for_ever(app: App, tmp_path: Path) -> None:
    runs = [tmp_path / f"run {n}" for n in range(KEPT + 3)]
    for run in runs:
        run.mkdir()
        (run / "run.toml").touch()
        remember_run(run)
    assert recent_runs() == runs[::-1][:KEPT]
    remember_run(runs[10])
    assert recent_runs()[0] == runs[10] and len(recent_runs()) == KEPT


@pytest.mark.parametrize("ending", ["q", "SIGTERM"])
def test_a_real_terminal_is_put_right_when_the_screen_ends(ending: str) -> None:
    pytest.importorskip("textual")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "synthclip_hpc.status", "demo=true"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=REPOSITORY,
        env=environment(TERM="xterm-256color", COLUMNS="80", LINES="24"),
        start_new_session=True,
    )
    os.close(slave)
    try:
        seen = read_until(master, b"captions")
        assert ALTERNATE in seen and NORMAL not in seen
        if ending == "q":
            os.write(master, b"q")
        else:
            process.send_signal(signal.SIGTERM)
        assert NORMAL in read_until(master, NORMAL)
        drain(master, process)
        assert process.returncode == (0 if ending == "q" else 128 + signal.SIGTERM)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)


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


def drain(terminal: int, process: subprocess.Popen[bytes], patience_s: float = 120.0) -> None:
    """Read on until the process has ended: it must not wait for its reader."""
    deadline = time.monotonic() + patience_s
    while process.poll() is None:
        assert time.monotonic() < deadline
        if has_more(terminal, 0.1):
            try:
                os.read(terminal, 65536)
            except OSError:  # the other side is closed
                process.wait(patience_s)
