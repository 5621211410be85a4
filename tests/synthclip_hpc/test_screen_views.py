"""Every view of the screen on a recorded run: it shows the snapshot's numbers, and what is selected stays so."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual")

from textual.pilot import Pilot
from textual.widgets import Input, Tabs
from textual.widgets._footer import FooterKey

from synthclip_hpc.monitor.blame import Verdict
from synthclip_hpc.monitor.parts import Alarm, ShardRow, Span
from synthclip_hpc.screen.app import VIEWS
from synthclip_hpc.screen.log import TRACEBACK, LogLines
from synthclip_hpc.screen.tables import KeyedTable
from tests.synthclip_hpc.screen_pilot import (
    SIZES,
    SetFeed,
    attempt,
    captions_phase,
    drive,
    look_again,
    rows_of,
    screen,
    straggler,
    text_of,
    until,
)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_view_opens_by_its_number_at_every_size(size: tuple[int, int]) -> None:
    app, seen = screen(SetFeed()), []

    async def script(pilot: Pilot[Any]) -> None:
        for number in range(1, 8):
            await pilot.press(str(number))
            await pilot.pause()
            seen.append(type(app.view))
            assert app.view.snapshot is app.snapshot
            assert app.focused is not None

    drive(app, script, size)
    assert tuple(seen) == VIEWS


def test_the_overview_has_a_line_a_stage_with_the_snapshots_numbers() -> None:
    feed = SetFeed()
    stages = feed.snapshot.stages

    async def script(pilot: Pilot[Any]) -> None:
        rows = rows_of(pilot, "#stages")
        assert [row[0] for row in rows] == [stage.name for stage in stages]
        assert [row[2] for row in rows] == [f"{one.shards_done:,}/{one.shards_total:,}" for one in stages]
        by_name = {row[0]: row for row in rows}
        captions = next(one for one in stages if one.name == "captions")
        assert len(by_name["captions"][-1]) == min(len(captions.heat), len(by_name["captions"][-1])) > 20
        assert set(by_name["captions"][-1]) == {"█"}
        assert "captions ✔" in text_of(pilot, "#strip")

    drive(screen(feed), script)


def test_the_overview_tells_alarms_and_what_to_press_and_how_far_a_stage_of_one_shard_is() -> None:
    feed = SetFeed()
    train = next(stage for stage in feed.snapshot.stages if stage.name == "train")
    train = dataclasses.replace(train, state="running", shards_done=0, items_done=train.items_total // 4)
    feed.set(stages=(train,), alarms=(Alarm("failed", "train/fit", "shard 0: out of memory"),))

    async def script(pilot: Pilot[Any]) -> None:
        assert text_of(pilot, "#alarms") == "⚠ train/fit: shard 0: out of memory"
        assert text_of(pilot, "#press").startswith("3: what has failed   r: go on")
        assert "train ▶25%" in text_of(pilot, "#strip")

    drive(screen(feed), script)


@pytest.mark.parametrize(
    ("size", "numbers"),
    [
        ((160, 48), ["12,345/30,000", "12,345,678/30,000,000"]),
        ((80, 24), ["12,345/30,000", "1,234", "2d 00h to 3d 05h"]),
        ((60, 20), ["12.3k/30k", "1234", "48h-77h"]),
        ((40, 16), ["41", "48h-77h"]),
        ((20, 16), ["41"]),
    ],
    ids=str,
)
def test_a_large_run_is_shown_by_what_fits_with_what_to_press_below_many_alarms(
    size: tuple[int, int], numbers: list[str]
) -> None:
    feed = SetFeed()
    large = dataclasses.replace(
        next(stage for stage in feed.snapshot.stages if stage.name == "render"),
        state="running", shards_done=12_345, shards_total=30_000, items_done=12_345_678, items_total=30_000_000,
        items_per_s=1234.4, eta_now=Span(172_800.0, 277_200.0),
    )  # fmt: skip
    waiting = dataclasses.replace(large, name="merge", state="waiting", shards_done=0, shards_total=0)
    feed.set(stages=(large, waiting), alarms=(Alarm("failed", "render/draw", "many words " * 20),) * 20)

    async def script(pilot: Pilot[Any]) -> None:
        row = rows_of(pilot, "#stages")[0]
        assert row[2 : 2 + len(numbers)] == numbers
        table, press = pilot.app.query_one("#stages", KeyedTable), pilot.app.query_one("#press")
        assert size[0] < 34 or table.virtual_size.width <= size[0]
        assert table.region.height >= 2 and press.region.height == 1 and press.region.bottom < size[1]
        assert text_of(pilot, "#press").startswith("20 alarms; 3: what has failed")
        assert "merge … →" in text_of(pilot, "#strip")

    drive(screen(feed), script, size)


def test_after_a_resize_every_cell_is_drawn_whole_and_the_selection_stays() -> None:
    feed = SetFeed()
    names = [stage.name for stage in feed.snapshot.stages]

    async def script(pilot: Pilot[Any]) -> None:
        table = pilot.app.query_one("#stages", KeyedTable)
        table.select(names[1])
        for size in ((80, 24), (40, 12), (160, 24), (120, 30)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            for number, row in enumerate(rows_of(pilot, "#stages")):
                # The first line is the heading's.
                assert table.render_line(1 + number).text.split() == " ".join(row).split()
            assert table.selected == names[1]
            await until(pilot, lambda: table.virtual_size.width <= table.size.width)

    drive(screen(feed), script, (120, 30))


@pytest.mark.parametrize(
    ("width", "has_full"), [(118, False), (120, False), (132, False), (146, True), (160, True)], ids=str
)
def test_a_running_chain_shows_attempts_and_heat_at_every_wide_size(width: int, has_full: bool) -> None:
    feed = SetFeed()
    at_work = dataclasses.replace(
        next(stage for stage in feed.snapshot.stages if stage.name == "captions"),
        state="running", shards_done=120, shards_total=240, items_done=12_000, items_total=24_000, running=4,
        items_per_s=123.4, items_per_s_overall=120.1, eta_now=Span(600.0, 840.0), eta_full=Span(600.0, 840.0),
    )  # fmt: skip
    feed.set(stages=(at_work,))

    async def script(pilot: Pilot[Any]) -> None:
        table = pilot.app.query_one("#stages", KeyedTable)
        headings = [str(column.label) for column in table.ordered_columns]
        assert headings[-2:] == ["attempts", "heat"]
        assert ("at full" in headings) == ("overall" in headings) == has_full
        assert table.virtual_size.width <= width
        assert "(4 live)" in table.render_line(1).text

    drive(screen(feed), script, (width, 30))


def test_a_cell_that_grows_makes_its_column_wider() -> None:
    feed = SetFeed()
    feed.set_phase("captions/write", state="running", lives=(attempt("9_0_0", node="n1"),))

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("2")
        columns = pilot.app.query_one("#attempts", KeyedTable).columns
        feed.set_phase("captions/write", lives=(attempt("9_0_0", node="a-longer-name"),))
        await look_again(pilot, feed)
        assert columns["node"].content_width == len("a-longer-name")
        assert rows_of(pilot, "#attempts")[0][3] == "a-longer-name"

    drive(screen(feed), script)


def test_the_overview_says_more_of_the_selected_stage_and_enter_opens_it() -> None:
    app = screen(SetFeed())

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("g", "j")
        await pilot.pause()
        assert text_of(pilot, "#note").startswith("captions\nattempts ended early:")
        await pilot.press("enter")
        await pilot.pause()
        assert text_of(pilot, "#phase").startswith("captions/write done")

    drive(app, script)


def test_a_new_attempt_above_leaves_the_selection_on_its_row_and_cells_change_in_place() -> None:
    feed = SetFeed()
    feed.set_phase("captions/write", state="running", lives=(attempt("9_2_0"), attempt("9_1_0"), attempt("9_0_0")))

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("2", "j")
        table = pilot.app.query_one("#attempts", KeyedTable)
        await until(pilot, lambda: table.selected == "9_1_0")
        row_keys = {key.value: key for key in table.rows}
        lives = (attempt("9_3_0"), attempt("9_2_0"), attempt("9_1_0", items_per_s=8.5), attempt("9_0_0"))
        feed.set_phase("captions/write", lives=lives)
        await look_again(pilot, feed)
        assert [row[0] for row in rows_of(pilot, "#attempts")] == ["9_3_0", "9_2_0", "9_1_0", "9_0_0"]
        assert table.selected == "9_1_0"
        assert rows_of(pilot, "#attempts")[2][4] == "8.5"
        assert all(next(key for key in table.rows if key.value == name) is row_keys[name] for name in row_keys)

    drive(screen(feed), script)


def test_the_stage_view_shows_stragglers_and_nodes_and_walks_through_the_phases() -> None:
    feed = SetFeed()
    lives = (attempt("9_0_0"), attempt("9_1_0", node="n2", items_per_s=1.5), attempt("9_2_0", state="failed"))
    feed.set_phase(
        "captions/write", state="running", lives=lives, stragglers=(straggler(7), straggler(3, why="silent"))
    )

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("2", "b")
        assert [row[:4] for row in rows_of(pilot, "#behind")] == [
            ["7", "slow", "10m 00s", "8.0"],
            ["3", "silent", "10m 00s", "8.0"],
        ]
        await pilot.press("n")
        assert [row[:4] for row in rows_of(pilot, "#nodes")] == [["n1", "1", "1", "4.0"], ["n2", "1", "", "1.5"]]
        await pilot.press("right_square_bracket")
        assert text_of(pilot, "#phase").startswith("balance/match")
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert text_of(pilot, "#phase").startswith("concepts/read")

    drive(screen(feed), script)


def test_shards_are_listed_on_demand_filtered_and_sorted() -> None:
    feed = SetFeed()
    rows = tuple(
        ShardRow(n, "failed" if n % 100 == 7 else "done", 10, 10, 0, f"9_{n % 4}_0", f"n{n % 4}", float(n % 13), "")
        for n in range(1000)
    )
    feed.frame = dataclasses.replace(feed.frame, shards={"captions/write": rows})
    feed.set_phase("captions/write", state="running", shards_total=1000)

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("2", "s")
        await until(pilot, lambda: len(rows_of(pilot, "#shards")) == 300)
        assert "300 of 1,000 that match of 1,000 shards, by number" in text_of(pilot, "#mode")
        await pilot.press("slash", *"failed n3")
        await until(pilot, lambda: len(rows_of(pilot, "#shards")) == 10)
        assert [row[0] for row in rows_of(pilot, "#shards")] == [str(n) for n in range(7, 1000, 100)]
        await pilot.press("enter", "z", "z")
        await until(pilot, lambda: "by time" in text_of(pilot, "#mode"))
        await until(pilot, lambda: rows_of(pilot, "#shards")[0][4] == "12s")
        await pilot.press("escape")
        assert pilot.app.query_one("#filter", Input).value == ""
        await until(pilot, lambda: len(rows_of(pilot, "#shards")) == 300)

    drive(screen(feed), script)


def test_the_failures_view_shows_each_group_and_all_of_the_selected_one() -> None:
    feed = SetFeed()
    first = feed.snapshot.failures[0]
    kind = first.fingerprint._replace(type="ValueError", frame="synthclip_hpc/models/tokens.py:encode")
    verdict = Verdict("shard", ("7",), "7 failed on two nodes")
    groups = (first, dataclasses.replace(first, id="00c0ffee", fingerprint=kind, verdict=verdict))
    feed.set(failures=groups)

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("3")
        await pilot.pause()
        rows = rows_of(pilot, "#groups")
        assert [row[:4] for row in rows] == [
            [one.id, str(one.count), one.phase, one.fingerprint.type] for one in groups
        ]
        await pilot.press("j")
        await pilot.pause()
        told = text_of(pilot, "#group-text")
        assert groups[1].fingerprint.frame in told and groups[1].verdict.evidence in told

    drive(screen(feed), script)


def test_the_training_view_shows_step_checkpoint_and_both_curves() -> None:
    feed = SetFeed()
    training = feed.snapshot.training
    assert training is not None

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("4")
        await pilot.pause()
        told = text_of(pilot, "#training-text")
        assert told.startswith(f"step {training.step:,} of ")
        assert f"last checkpoint: step {training.checkpoint_step:,}" in told
        losses = [point.loss for point in training.curve if point.loss is not None]
        assert f"{max(losses):,.3f} ┤" in told and f"{min(losses):,.3f} ┤" in told
        assert "samples/s by step" in told

    drive(screen(feed), script)


def test_the_evaluation_view_is_a_matrix_that_fills() -> None:
    feed = SetFeed()
    evaluation = feed.snapshot.evaluation
    assert evaluation is not None
    cells = [dataclasses.replace(cell, state="pending", value=None) for cell in evaluation.cells]
    cells[0] = dataclasses.replace(cells[0], state="done", main="acc1", value=0.625)
    feed.set(evaluation=dataclasses.replace(evaluation, cells=tuple(cells), cells_done=1))

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("5")
        await pilot.pause()
        assert rows_of(pilot, "#matrix")[0] == [f"{cells[0].dataset}, {cells[0].task}", "62.5 acc1"]
        assert {row[1] for row in rows_of(pilot, "#matrix")[1:]} == {"pending"}
        assert text_of(pilot, "#cells-done").startswith(f"1 of {len(cells)} cells")

    drive(screen(feed), script)


def test_the_samples_view_shows_the_newest_captions() -> None:
    feed = SetFeed()
    captions = feed.frame.captions
    assert len(captions) >= 10

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("7")
        await until(pilot, lambda: text_of(pilot, "#samples-text"))
        lines = text_of(pilot, "#samples-text").splitlines()
        assert lines == [f"{one.concept}  {one.caption}" for one in captions]

    drive(screen(feed), script)


def test_logs_open_as_tabs_are_followed_and_the_next_traceback_is_found(tmp_path: Path) -> None:
    feed = SetFeed()
    for name in ("9_0_0", "9_1_0"):
        feed.logs[name] = tmp_path / f"{name}.log"
        feed.logs[name].write_text("".join(f"{name} line {n}\n" for n in range(100)) + f"{TRACEBACK}:\n  boom\n" * 1)
    with feed.logs["9_1_0"].open("a") as file:
        file.writelines(f"after {n}\n" for n in range(100))
    lives = (attempt("9_1_0", started=2000.0), attempt("9_0_0"))
    feed.set(stages=tuple(stage for stage in feed.snapshot.stages if stage.name == "captions"))
    feed.set_phase("captions/write", lives=lives)

    async def script(pilot: Pilot[Any]) -> None:
        await pilot.press("6")
        tabs, lines = pilot.app.query_one("#attempt-tabs", Tabs), pilot.app.query_one(LogLines)
        await until(pilot, lambda: tabs.tab_count == 2 and len(lines.lines) > 200)
        assert str(tabs.active_tab.label) == "9_1_0"
        assert text_of(pilot, "#log-path") == str(feed.logs["9_1_0"])
        with feed.logs["9_1_0"].open("a") as file:
            file.write("one more\r100 %|x| \x1b[31mthe last word\n")
        await until(pilot, lambda: any("the last word" in line for line in lines.lines))
        assert not any("\x1b" in line or "one more" in line for line in lines.lines)
        await pilot.press("t")
        await pilot.pause()
        assert TRACEBACK in lines.lines[int(lines.scroll_y)]
        await pilot.press("f")
        await pilot.pause()
        assert lines.scroll_y == lines.max_scroll_y > 100
        await pilot.press("h")
        await until(pilot, lambda: any("9_0_0 line 99" in line for line in lines.lines))
        assert not any("9_1_0" in line for line in lines.lines)
        await pilot.press("x")
        await until(pilot, lambda: tabs.tab_count == 1)
        await pilot.press("x")
        await until(pilot, lambda: tabs.tab_count == 0)
        assert text_of(pilot, "#log-path").startswith("no log is open: o on an attempt")
        assert not lines.lines

    drive(screen(feed), script)


def test_what_has_no_log_says_why() -> None:
    feed = SetFeed()
    rows = tuple(dataclasses.replace(one, state="pending", attempt="") for one in feed.shards("captions/write")[:1])
    feed.frame = dataclasses.replace(feed.frame, shards={"captions/write": rows})
    feed.set_phase("captions/write", stragglers=())
    app = screen(feed)

    async def script(pilot: Pilot[Any]) -> None:
        app.open_stage("captions/write")
        for key, table, told in (
            ("s", "#shards", "no attempt has come to this shard"),
            ("n", "#nodes", "a node has no log of its own"),
            ("b", "#behind", "nothing is selected"),
        ):
            await pilot.press(key)
            if table != "#behind":
                await until(pilot, partial(rows_of, pilot, table))
            await pilot.press("o")
            await pilot.pause()
            assert any(note.message.startswith(told) for note in app._notifications), key

    drive(app, script)


def footer_is_up_to_date(pilot: Pilot[Any]) -> bool:
    keys = list(pilot.app.query(FooterKey))
    wanted = {one.binding.description for one in pilot.app.screen.active_bindings.values() if one.binding.show}
    return {key.description for key in keys} == wanted and all(key.region.width for key in keys)


def test_all_keys_of_the_footer_are_in_sight_at_80_characters() -> None:
    async def script(pilot: Pilot[Any]) -> None:
        for number, view in enumerate(VIEWS, start=1):
            await pilot.press(str(number))
            await pilot.pause()
            assert type(pilot.app.view) is view
            # The footer follows the focus a little later.
            await until(pilot, partial(footer_is_up_to_date, pilot))
            ends = {key.description: key.region.right for key in pilot.app.query(FooterKey)}
            assert max(ends.values()) <= 80, (number, ends)
            assert {"Help", "Leave", "Cancel"} <= set(ends)

    drive(screen(SetFeed()), script)


def test_a_log_opens_from_an_attempt_and_from_a_group_of_failures(tmp_path: Path) -> None:
    feed = SetFeed()
    sample = feed.snapshot.failures[0].sample.attempt
    path = tmp_path / "sample.log"
    path.write_text("what went wrong\n")
    feed.logs[sample] = path
    app = screen(feed)

    async def script(pilot: Pilot[Any]) -> None:
        lines = pilot.app.query_one(LogLines)
        await pilot.press("3", "o")
        await until(pilot, lambda: list(lines.lines)[:1] == ["what went wrong"])
        app.open_stage("captions")
        await pilot.pause()
        pilot.app.query_one("#attempts", KeyedTable).select(sample)
        await pilot.press("o")
        await until(pilot, lambda: text_of(pilot, "#log-path") == str(path))
        assert captions_phase(feed.snapshot).attempts >= 2

    drive(app, script)
