"""What keys of the screen do: actions ask first and say what they ran, looks go on, pause and outlive what hangs."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual")

from textual.pilot import Pilot

from synthclip_hpc.errors import UserError
from synthclip_hpc.monitor.blame import Verdict
from synthclip_hpc.screen import app as app_module
from synthclip_hpc.screen import head
from synthclip_hpc.screen.actions import Outcome, carry_out, command_line
from synthclip_hpc.screen.app import VIEWS, RunScreen
from synthclip_hpc.screen.dialogs import Question, TextDialog
from synthclip_hpc.screen.recent import RecentScreen
from tests.synthclip_hpc.screen_pilot import SetFeed, drive, look_again, on_a_node, rows_of, screen, text_of, until

RUN = Path("/runs/my run")


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that would have been run."""
    commands: list[str] = []

    def carry_out(command: str) -> Outcome:
        commands.append(command)
        return Outcome(command, 0, "submitted: 00007-captions")

    monkeypatch.setattr(app_module, "carry_out", carry_out)
    return commands


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("r", "resume"),
        ("c", "cancel"),
        ("3 r", "resume only=group:1"),
        ("3 x", "resume only=group:1 exclude=n2,n4"),
    ],
)
def test_an_action_asks_first_with_its_command_and_says_what_that_said(
    keys: str, words: str, carried_out: list[str]
) -> None:
    feed = SetFeed(RUN)
    on_a_node(feed, "n2", "n4")
    app = screen(feed)
    wanted = f"python -m synthclip_hpc.{words} run='/runs/my run'"

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press(*keys.split())
        await pilot.pause()
        assert isinstance(app.screen, Question)
        assert app.screen.command == wanted
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
    assert [outcome.command for outcome in app.ran] == [wanted]


def test_excluding_nodes_of_a_group_that_follows_none_says_so(carried_out: list[str]) -> None:
    feed = SetFeed(RUN)
    feed.set(failures=(replace(feed.snapshot.failures[0], verdict=Verdict("neither", (), "tried once")),))
    app = screen(feed)

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("3", "x")
        await pilot.pause()
        assert isinstance(app.screen, Question)
        assert "does not follow a node" in app.screen.what
        assert app.screen.command.endswith(f"exclude={','.join(feed.snapshot.failures[0].nodes)} run='/runs/my run'")
        await pilot.press("escape")

    drive(app, script)
    assert carried_out == []


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


def test_looks_stop_with_p_and_go_on_with_it() -> None:
    feed = SetFeed()
    app = screen(feed)

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("p")
        feed.pace_s = 0.0
        app.action_look()
        await pilot.pause()
        assert feed.looks == 1 and "stopped" in text_of(pilot, "#head")
        await pilot.press("p")
        await until(pilot, lambda: feed.looks > 1)
        assert "stopped" not in text_of(pilot, "#head")

    drive(app, script)


def test_a_look_that_hangs_leaves_the_screen_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_SLOW_S", 0.0)
    feed, go_on = SetFeed(), threading.Event()
    app = screen(feed)

    async def script(pilot: Pilot[Any]) -> None:
        feed.before_look = go_on.wait
        await pilot.press("u")
        await until(pilot, lambda: feed.looks == 2)
        await pilot.press("3")
        await pilot.pause()
        assert app.view.name_shown == "Failures" and len(rows_of(pilot, "#groups")) == len(feed.snapshot.failures)
        await until(pilot, lambda: "looking for" in text_of(pilot, "#head"))
        feed.set(alive=not feed.snapshot.alive)
        go_on.set()
        await until(pilot, lambda: app.snapshot is feed.snapshot)

    drive(app, script)


def test_records_that_cannot_be_read_are_told_and_the_last_numbers_stay() -> None:
    feed = SetFeed()
    app = screen(feed)

    def refuse() -> None:
        raise UserError("run.toml: schema 9, this version reads 1")

    async def script(pilot: Pilot[Any]) -> None:
        before = app.snapshot
        feed.before_look = refuse
        await pilot.press("u")
        await until(pilot, lambda: "schema 9" in text_of(pilot, "#head"))
        assert app.snapshot is before and rows_of(pilot, "#stages")
        feed.before_look = lambda: None
        feed.set(alive=not feed.snapshot.alive)
        await look_again(pilot, feed)
        assert "schema 9" not in text_of(pilot, "#head")

    drive(app, script)


def test_a_bug_in_a_look_ends_the_screen_and_says_where() -> None:
    feed = SetFeed()

    def break_down() -> None:
        raise ZeroDivisionError("a bug")

    async def script(pilot: Pilot[Any]) -> None:
        feed.before_look = break_down
        await pilot.press("u")
        await until(pilot, lambda: not pilot.app.is_running)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        drive(screen(feed), script)


def test_a_run_without_a_plan_and_one_that_lost_its_stages_are_shown() -> None:
    feed = SetFeed()
    whole = feed.snapshot
    feed.set(stages=(), training=None, evaluation=None, failures=(), alarms=())
    app = screen(feed)

    async def script(pilot: Pilot[Any]) -> None:
        for number in range(1, 8):
            await pilot.press(str(number))
            await pilot.pause()
        assert text_of(pilot, "#phase") == "no phase has a plan yet"
        assert text_of(pilot, "#group-text") == "nothing has failed"
        feed.set(stages=whole.stages)
        await look_again(pilot, feed)
        await pilot.press("1")
        await pilot.pause()
        assert len(rows_of(pilot, "#stages")) == len(whole.stages)

    drive(app, script)


def test_recent_runs_have_a_line_each_and_enter_takes_one() -> None:
    runs = [Path("/runs/a"), Path("/runs/b")]
    app = RecentScreen(runs, lambda path: f"all well with {path.name}")

    async def script(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: rows_of(pilot, "#recent")[-1][1] != "…")
        assert rows_of(pilot, "#recent") == [["/runs/a", "all well with a"], ["/runs/b", "all well with b"]]
        await pilot.press("j", "enter")

    drive(app, script)
    assert app.return_value == runs[1]


def test_the_screen_is_built_of_the_views_in_the_order_of_their_keys() -> None:
    keys = {binding.key: binding.action for binding in RunScreen.BINDINGS if binding.key.isdigit()}
    assert keys == {str(n): f"view('{view.name_shown.lower()}')" for n, view in enumerate(VIEWS, start=1)}
