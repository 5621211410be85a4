"""The screen of recent runs: a line each, whatever is wrong with one of them, at every size."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual")

from textual.pilot import Pilot

from synthclip_hpc.monitor.summary import RunLine
from synthclip_hpc.screen import recent
from synthclip_hpc.screen.names import short_paths
from synthclip_hpc.screen.recent import RecentScreen
from synthclip_hpc.screen.tables import KeyedTable
from tests.synthclip_hpc.screen_pilot import SIZES, drive, rows_of, text_of, until


def runs(count: int) -> list[Path]:
    return [Path(f"/runs/{n}") for n in range(count)]


def well(path: Path) -> RunLine:
    return RunLine(f"all well with {path.name}", "done")


def is_told(pilot: Pilot[Any]) -> Callable[[], bool]:
    return lambda: "looked at" not in text_of(pilot, "#head")


def test_runs_have_a_line_each_and_enter_takes_one() -> None:
    app = RecentScreen(runs(2), well)

    async def script(pilot: Pilot[Any]) -> None:
        await until(pilot, is_told(pilot))
        assert rows_of(pilot, "#recent") == [["/runs/0", "all well with 0"], ["/runs/1", "all well with 1"]]
        await pilot.press("j")
        await pilot.pause()
        assert text_of(pilot, "#chosen") == "/runs/1\nall well with 1"
        await pilot.press("enter")

    drive(app, script)
    assert app.return_value == Path("/runs/1")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("count", [0, 1, 3, 60])
def test_any_number_of_runs_is_shown_at_every_size(count: int, size: tuple[int, int]) -> None:
    long = [Path(f"/a/folder/with/a/long/name/on/a/shared/file/system/of/a/cluster/run-{n}") for n in range(count)]
    app = RecentScreen(long, lambda path: RunLine(f"alive, 1 alarm: {path.name} " + "and so on " * 20, "failed"))

    async def script(pilot: Pilot[Any]) -> None:
        await until(pilot, is_told(pilot))
        table = app.query_one("#recent", KeyedTable)
        assert (table.row_count, table.display) == (count, count > 0)
        assert table.virtual_size.width <= size[0]
        await pilot.press("G")
        if count:
            await until(pilot, lambda: text_of(pilot, "#chosen").startswith(f"{long[-1]}\nalive, 1 alarm"))
            assert rows_of(pilot, "#recent")[-1][0].endswith(f"{count - 1}")
        else:
            assert "None of your recent runs is there any more" in text_of(pilot, "#chosen")
            await pilot.press("enter")
            assert app.is_running
        await pilot.press("q")

    drive(app, script, size)
    assert app.return_value is None


def test_a_run_that_is_gone_leaves_the_list_and_the_selection_stays_when_the_terminal_gets_narrow() -> None:
    app = RecentScreen(
        [Path(f"/runs/of/the/whole/group/{n}") for n in range(40)], lambda one: None if one.name == "3" else well(one)
    )

    async def script(pilot: Pilot[Any]) -> None:
        await until(pilot, is_told(pilot))
        table = app.query_one("#recent", KeyedTable)
        assert table.row_count == 39 and text_of(pilot, "#head").split() == ["39", "recent", "runs"]
        await pilot.press("G")
        await pilot.resize_terminal(30, 14)
        await pilot.pause()
        assert app.selected == Path("/runs/of/the/whole/group/39")
        assert max(len(row[0]) for row in rows_of(pilot, "#recent")) <= 12
        await until(pilot, lambda: table.scroll_y == table.max_scroll_y)

    drive(app, script)


def test_a_look_that_hangs_is_told_and_any_run_can_be_taken_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_SLOW_S", 0.0)
    monkeypatch.setattr(recent, "_TICK_S", 0.01)
    go_on = threading.Event()

    def describe(path: Path) -> RunLine:
        if path.name == "1":
            go_on.wait(60)
        return well(path)

    app = RecentScreen(runs(3), describe)

    async def script(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "1 looked at   /runs/1 for" in text_of(pilot, "#head"))
        assert [row[1] for row in rows_of(pilot, "#recent")] == ["all well with 0", "…", "…"]
        await pilot.press("G", "enter")

    drive(app, script)
    go_on.set()
    assert app.return_value == Path("/runs/2")


def test_all_is_looked_at_again_on_demand() -> None:
    looks: list[Path] = []

    def describe(path: Path) -> RunLine:
        looks.append(path)
        return RunLine(f"look {len(looks)}", "partial")

    async def script(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: [row[1] for row in rows_of(pilot, "#recent")] == ["look 1", "look 2"])
        await pilot.press("u")
        await until(pilot, lambda: [row[1] for row in rows_of(pilot, "#recent")] == ["look 3", "look 4"])

    drive(RecentScreen(runs(2), describe), script)
    assert looks == runs(2) * 2


def test_a_bug_in_a_look_ends_the_screen_and_says_where() -> None:
    def describe(path: Path) -> RunLine:
        raise ZeroDivisionError("a bug")

    async def script(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: not pilot.app.is_running)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        drive(RecentScreen(runs(1), describe), script)


def test_paths_are_told_by_their_ends_and_never_two_by_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    paths = [Path("/home/me/runs/a"), Path("/store/long/name/b"), Path("/one/same/end"), Path("/two/same/end")]
    assert short_paths(paths, 10) == {
        "~/runs/a": paths[0],
        "…ng/name/b": paths[1],
        "/one/same/end": paths[2],
        "/two/same/end": paths[3],
    }
