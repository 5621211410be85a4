"""Looks of the screen go on, pause, and outlive what hangs or fails."""

from __future__ import annotations

import threading
from typing import Any

import pytest

pytest.importorskip("textual")

from textual.pilot import Pilot

from synthclip_hpc.errors import UserError
from synthclip_hpc.screen import head
from tests.synthclip_hpc.screen_pilot import SetFeed, drive, look_again, rows_of, screen, text_of, until


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


def test_what_a_view_could_not_get_is_told_until_a_key_is_pressed() -> None:
    feed = SetFeed()
    app = screen(feed)

    def refuse(*_: object) -> None:
        raise OSError(116, "Stale file handle")

    async def script(pilot: Pilot[Any]) -> None:
        app.ask(refuse, lambda _: None)
        await until(pilot, lambda: "Stale file handle" in text_of(pilot, "#head"))
        feed.set(alive=not feed.snapshot.alive)
        app.action_look()
        await until(pilot, lambda: app.snapshot is feed.snapshot)
        assert "Stale file handle" in text_of(pilot, "#head")
        feed.set(alive=not feed.snapshot.alive)
        await look_again(pilot, feed)
        assert "Stale file handle" not in text_of(pilot, "#head")

    drive(app, script)
