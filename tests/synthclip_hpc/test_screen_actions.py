"""What keys of the screen do: actions ask first, say what they ran and outlive the screen; keys move and explain."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual")

from textual.pilot import Pilot

from synthclip_hpc.monitor.blame import Verdict
from synthclip_hpc.screen import actions
from synthclip_hpc.screen.actions import Action, Outcome, carry_out, command_line
from synthclip_hpc.screen.app import VIEWS, RunScreen
from synthclip_hpc.screen.dialogs import Question, TextDialog
from synthclip_hpc.screen.session import show_run
from tests.synthclip_hpc.app import REPOSITORY
from tests.synthclip_hpc.screen_pilot import SetFeed, drive, on_a_node, rows_of, screen, until

RUN = Path("/runs/my run")


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that would have been run."""
    commands: list[str] = []

    def carry_out(command: str) -> Outcome:
        commands.append(command)
        return Outcome(command, 0, "submitted: 00007-captions")

    monkeypatch.setattr(actions, "carry_out", carry_out)
    return commands


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("r", "resume"),
        ("c", "cancel"),
        ("3 r", "resume only=group:GROUP"),
        ("3 x", "resume only=group:GROUP exclude=n2,n4"),
    ],
)
def test_an_action_asks_first_with_its_command_and_says_what_that_said(
    keys: str, words: str, carried_out: list[str]
) -> None:
    feed = SetFeed(RUN)
    on_a_node(feed, "n2", "n4")
    app = screen(feed)
    group = feed.snapshot.failures[0]
    wanted = f"python -m synthclip_hpc.{words.replace('GROUP', group.id)} run='/runs/my run'"

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press(*keys.split())
        await pilot.pause()
        assert isinstance(app.screen, Question)
        assert app.screen.command == wanted
        # An id alone would not show that another group was meant.
        assert (f"RuntimeError: {group.sample.message}" in app.screen.what) == ("group" in words)
        await pilot.press("enter")  # is no answer
        await pilot.press("n")
        await pilot.pause()
        assert carried_out == [] and len(app.screen_stack) == 1
        await pilot.press(keys.split()[-1], "y")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        assert carried_out == [wanted]
        assert app.screen.title_shown == f"{wanted}: done"
        assert app.screen.text.plain == "submitted: 00007-captions"
        await pilot.press("escape")
        await until(pilot, lambda: feed.looks >= 2)  # what it did is looked at at once

    drive(app, script)
    assert [action.told() for action in app.actions] == [f"ran: {wanted} (exit code 0)"]


@pytest.mark.parametrize("verdict", [Verdict("neither", (), "tried once"), Verdict("shard", ("7",), "failed twice")])
def test_no_node_is_left_alone_for_a_group_that_follows_none(verdict: Verdict, carried_out: list[str]) -> None:
    feed = SetFeed(RUN)
    feed.set(failures=(replace(feed.snapshot.failures[0], verdict=verdict, nodes={"n1": 2, "n2": 1}),))
    app = screen(feed)
    told: list[str] = []

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("3", "x")
        await pilot.pause()
        assert len(app.screen_stack) == 1
        told.extend(notification.message for notification in app._notifications)

    drive(app, script)
    assert carried_out == []
    follows = {"neither": "neither", "shard": "shard 7"}[verdict.follows]
    assert told == [f"no node is blamed for this: it follows {follows}; r resubmits it"]


def test_the_story_of_a_groups_first_shard_is_told(carried_out: list[str]) -> None:
    feed = SetFeed(RUN)
    group = feed.snapshot.failures[0]

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("3", "w")
        await until(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        await pilot.press("escape", "2", "s")
        await until(pilot, lambda: rows_of(pilot, "#shards"))
        await pilot.press("j", "w")
        await until(pilot, lambda: len(carried_out) == 2)

    drive(screen(feed), script)
    at = "run='/runs/my run'"
    assert carried_out[0] == f"python -m synthclip_hpc.why shard={group.phase}/{group.shards[0]} {at}"
    assert carried_out[1].startswith("python -m synthclip_hpc.why shard=")


def test_nothing_is_done_to_a_recording(carried_out: list[str]) -> None:
    app = screen(SetFeed())

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("r", "c", "3", "r", "x", "w")
        await pilot.pause()
        assert len(app.screen_stack) == 1

    drive(app, script)
    assert carried_out == []


def test_a_command_is_carried_out_word_for_word_with_its_exit_code(tmp_path: Path) -> None:
    command = command_line("cancel", tmp_path / "no run")
    outcome = carry_out(command)
    assert (outcome.command, outcome.code) == (f"python -m synthclip_hpc.cancel run='{tmp_path}/no run'", 2)
    assert "no run here" in outcome.output


@pytest.mark.parametrize("number", range(1, 8))
def test_help_tells_the_keys_of_the_view_in_sight(number: int) -> None:
    app = screen(SetFeed())

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press(str(number), "question_mark")
        await pilot.pause()
        assert isinstance(app.screen, TextDialog)
        told = app.screen.text.plain
        assert "resume" in told and all(line in told for line in VIEWS[number - 1].help_lines)
        await pilot.press("question_mark")
        await pilot.pause()
        assert len(app.screen_stack) == 1

    drive(app, script)


def test_keys_of_vim_and_arrows_move_the_same_and_a_click_opens_a_view() -> None:
    app = screen(SetFeed())

    async def script(pilot: Pilot[Any]) -> None:
        table = app.query_one("#stages")
        places = []
        for key in ("g", "j", "down", "k", "up", "G"):
            await pilot.press(key)
            places.append(table.cursor_row)
        assert places == [0, 1, 2, 1, 0, table.row_count - 1]
        await pilot.click("#--content-tab-training")
        await pilot.pause()
        assert app.view.name_shown == "Training"

    drive(app, script)


def test_the_theme_goes_from_dark_to_light_and_back_and_q_leaves() -> None:
    app = screen(SetFeed())
    themes = []

    async def script(pilot: Pilot[Any]) -> None:
        for _ in range(3):
            themes.append(app.current_theme.dark)
            await pilot.press("d")
        await pilot.press("q")

    drive(app, script)
    assert themes == [True, False, True]
    assert app.return_code == 0 and app.return_value == 0


def test_an_action_at_work_when_the_screen_is_left_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, end = threading.Event(), threading.Event()

    def carry_out(command: str) -> Outcome:
        at_work.set()
        end.wait(60)
        return Outcome(command, 0, "")

    monkeypatch.setattr(actions, "carry_out", carry_out)
    app = screen(SetFeed(RUN))

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("r", "y")
        await until(pilot, at_work.is_set)
        await pilot.press("c", "y", "q")  # the second waits for the first

    drive(app, script)
    at = "run='/runs/my run'"
    told = [action.told() for action in app.actions]
    end.set()
    assert told == [
        f"still running: python -m synthclip_hpc.resume {at}",
        f"not run: python -m synthclip_hpc.cancel {at}",
    ]


def test_what_became_of_actions_is_printed_when_the_screen_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(app: RunScreen) -> int:
        app.actions += [Action("a", True, Outcome("a", 3, "")), Action("b", True), Action("c")]
        return 0

    monkeypatch.setattr(RunScreen, "run", run)
    assert show_run(SetFeed(RUN), "a run") == 0
    assert capsys.readouterr().out.splitlines() == ["ran: a (exit code 3)", "still running: b", "not run: c"]


def test_a_command_goes_on_when_the_screen_that_began_it_has_gone(tmp_path: Path) -> None:
    # A command that says something after its reader has gone, as `resume` does; the first word of it comes at once.
    slow = tmp_path / "synthclip_slow.py"
    slow.write_text(
        "import os, pathlib, time\n"
        "here = pathlib.Path(__file__).parent\n"
        "(here / 'begun').touch()\n"
        "while not (here / 'go').exists():\n"
        "    time.sleep(0.01)\n"
        "print('at work', flush=True)\n"
        "(here / 'done').touch()\n"
    )
    code = (
        "import os, pathlib, threading, time; from synthclip_hpc.screen.actions import Action\n"
        "threading.Thread(target=Action('python -m synthclip_slow').carry_out, daemon=True).start()\n"
        f"begun = pathlib.Path({str(tmp_path / 'begun')!r})\n"
        "while not begun.exists():\n"
        "    time.sleep(0.01)\n"
    )
    path = os.pathsep.join([str(REPOSITORY), str(tmp_path)])
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, check=True, timeout=60)
    (tmp_path / "go").touch()
    deadline = time.monotonic() + 60
    while not (tmp_path / "done").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_action_that_cannot_be_run_is_told_until_a_key_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def carry_out(command: str) -> Outcome:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(actions, "carry_out", carry_out)
    feed = SetFeed(RUN)
    app = screen(feed)

    async def script(pilot: Pilot[Any]) -> None:
        for keys in (("r", "y"), ("3", "w")):
            await pilot.press(*keys)
            await until(pilot, lambda: isinstance(app.screen, TextDialog))
            feed.set(alive=not feed.snapshot.alive)
            app.action_look()
            await until(pilot, lambda: app.snapshot is feed.snapshot)
            assert isinstance(app.screen, TextDialog)
            assert "No space left on device" in app.screen.text.plain
            assert app.screen.title_shown.startswith("python -m synthclip_hpc.")
            await pilot.press("escape")

    drive(app, script)
    assert [action.told() for action in app.actions] == ["not run: python -m synthclip_hpc.resume run='/runs/my run'"]


def test_the_screen_is_built_of_the_views_in_the_order_of_their_keys() -> None:
    keys = {binding.key: binding.action for binding in RunScreen.BINDINGS if binding.key.isdigit()}
    assert keys == {str(n): f"view('{view.name_shown.lower()}')" for n, view in enumerate(VIEWS, start=1)}
