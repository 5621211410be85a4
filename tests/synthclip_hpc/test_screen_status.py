"""When `status` shows the screen and when it prints, and what it prints of recent runs."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest

from synthclip_hpc.monitor.summary import RunLine
from synthclip_hpc.recent import KEPT, recent_runs, remember_run
from synthclip_hpc.run import Run
from synthclip_hpc.status import is_terminal
from tests.synthclip_hpc.app import App, call


def test_the_recorded_run_is_printed_where_there_is_no_terminal() -> None:
    told = call("status", "demo=true")
    assert told.code == 0 and "captions" in told.out and "runs/demo" in told.out
    snapshot = json.loads(call("status", "demo=true", "json=true").out)
    assert snapshot["schema"] == 1 and len(snapshot["stages"]) == 8


def test_a_run_is_not_left_out_for_the_recorded_one() -> None:
    told = call("status", "demo=true", "run=runs/mine")
    assert told.code == 2
    assert "demo=true run=runs/mine: demo plays a recorded run; leave out one of the two" in told.err


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
def test_one_run_that_cannot_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNTHCLIP_RUN", raising=False)
    runs = {name: tmp_path / name for name in ("oldest", "folder", "stale", "torn", "newer", "submissions", "latest")}
    for run in runs.values():
        run.mkdir()
        (run / "run.toml").write_text("schema = 1\n")
        remember_run(run)
    (runs["folder"] / "run.toml").unlink()
    (runs["folder"] / "run.toml").mkdir()
    (runs["torn"] / "run.toml").write_bytes(b"\xff\x00")
    (runs["newer"] / "run.toml").write_text("schema = 2\n")
    (runs["submissions"] / "submissions").write_text("a file")
    stat = Path.stat

    def stale(path: Path, **options: bool) -> os.stat_result:
        if path.parent == runs["stale"]:
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", stale)
    told = call("status")
    lines = dict(line.split("  ", 1) for line in told.out.splitlines())
    assert (told.code, list(lines)) == (0, [str(run) for run in reversed(runs.values())])
    words = {name: lines[str(run)] for name, run in runs.items()}
    assert words["oldest"] == words["latest"] == "0 of 0 stages done"
    assert words["folder"].startswith("cannot be read: Is a directory: ")
    assert words["stale"] == f"cannot be read: Stale file handle: {runs['stale']}/run.toml"
    assert "damaged" in words["torn"] and "schema 2, this version reads 1" in words["newer"]
    assert words["submissions"].startswith("cannot be read: Not a directory: ")


@pytest.mark.usefixtures("no_temp_folder")
def test_each_line_is_printed_as_soon_as_its_run_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNTHCLIP_RUN", raising=False)
    for name in ("a", "b"):
        remember_run(tmp_path / name)
    printed_before = []

    def look(run: Run) -> RunLine:
        assert isinstance(sys.stdout, io.StringIO)
        printed_before.append(sys.stdout.getvalue())
        return RunLine("well", "done")

    monkeypatch.setattr("synthclip_hpc.monitor.summary.run_in_a_line", look)
    assert call("status").code == 0
    assert printed_before == ["", f"{tmp_path}/b  well\n"]


@pytest.mark.usefixtures("no_temp_folder")
def test_where_all_recent_runs_are_gone_it_is_told_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNTHCLIP_RUN", raising=False)
    remember_run(tmp_path / "gone")
    told = call("status")
    assert told.code == 2 and told.out == "" and "no run here" in told.err


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
