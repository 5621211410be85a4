"""What the screen is made of, part by part: pictures, choosing, recordings, logs, whether anybody looks."""

from __future__ import annotations

import dataclasses
import json
import lzma
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual")

from synthclip_hpc.errors import UserError
from synthclip_hpc.monitor.parts import GpuSample, HeatCell, ShardRow
from synthclip_hpc.monitor.recording import DEMO, Recording, load, save
from synthclip_hpc.screen.attention import AT_HAND_S, UNFOCUSED_S, UNTOUCHED_S, Attention
from synthclip_hpc.screen.choosing import choose
from synthclip_hpc.screen.feed import LiveFeed
from synthclip_hpc.screen.following import LogFile
from synthclip_hpc.screen.helper import Helper
from synthclip_hpc.screen.nodes import by_node
from synthclip_hpc.screen.pictures import curve, heat_line, sparkline
from synthclip_hpc.screen.recorded import LINGER_S, RecordedFeed
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.screen_pilot import attempt


def cell(first: int, done: int, running: int = 0, failed: int = 0) -> HeatCell:
    return HeatCell(first, first + 10, done, running, failed, 10 - done - running - failed, 0)


def test_a_heat_line_shows_done_running_failed_and_open_shards_in_order() -> None:
    cells = [cell(0, 10), cell(10, 5, running=1), cell(20, 9, failed=1), cell(30, 0), cell(40, 5)]
    line = heat_line(cells, 80)
    assert line.plain == "█▄!·▄"
    assert [str(span.style) for span in line.spans] == ["green", "cyan", "bold red", "dim", "yellow"]


def test_a_narrow_heat_line_puts_cells_together_and_loses_no_failure() -> None:
    cells = [cell(10 * n, 10, failed=0) for n in range(120)]
    cells[77] = cell(770, 9, failed=1)
    line = heat_line(cells, 10).plain
    assert len(line) == 10 and line.index("!") == 6 and line.count("█") == 9


def test_a_sparkline_goes_from_nothing_to_the_highest_value() -> None:
    assert sparkline((0.0, 1.0, 2.0)) == "▁▄█"
    assert sparkline((0.0, 0.0)) == "▁▁"
    assert sparkline((9.0, 1.0, 1.0), width=2) == "██"
    assert sparkline(()) == ""


def test_a_curve_falls_from_its_upper_left_to_its_lower_right() -> None:
    assert curve([(0.0, 1.0), (1.0, 0.0)], 2, 2) == ["⢣⠀", "⠀⢣"]
    assert curve([(5.0, 3.0)], 2, 1) == ["⠄⠀"]
    assert curve([], 5, 2) == ["", ""]


def shard(
    number: int, state: str = "done", node: str = "n1", seconds: float | None = None, message: str = ""
) -> ShardRow:
    return ShardRow(number, state, 10, 10, 0, "1_0_0", node, seconds, message)


def test_shards_are_chosen_by_words_numbers_and_ranges_and_sorted() -> None:
    rows = [shard(1, seconds=5.0), shard(2, "failed", "n2", message="CUDA error"), shard(12, "running", "n2", 9.0)]

    def chosen(words: str, order: str = "number") -> list[int]:
        return [row.shard for row in choose(rows, words, order)]

    assert chosen("") == [1, 2, 12]
    assert chosen("n2") == [2, 12]
    assert chosen("cuda n2") == [2]
    assert chosen("2") == [2]
    assert chosen("2-12") == [2, 12]
    assert chosen("", "state") == [2, 12, 1]
    assert chosen("", "time") == [12, 1, 2]


def test_attempts_are_summed_by_node_minute_by_minute() -> None:
    gpu = (GpuSample(1.0, 50.0, 20, 80), GpuSample(2.0, 90.0, 40, 80))
    lives = [
        attempt("1_0_0", throughput=(1.0, 2.0, 3.0), gpu=gpu),
        attempt("1_1_0", throughput=(5.0,), gpu=(GpuSample(2.0, 70.0, 60, 80),)),
        attempt("1_2_0", state="interrupted", items_per_s=9.0),
        attempt("1_3_0", node=""),
    ]
    unknown, node = by_node(lives)
    assert (unknown.node, unknown.running) == ("?", 1)
    assert (node.node, node.running, node.ended_early, node.items_per_s) == ("n1", 2, 1, 8.0)
    assert (node.throughput, node.gpu_percent, node.gpu_memory) == ((1.0, 2.0, 8.0), 80.0, 0.75)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    recording = load(DEMO)
    path = tmp_path / "again.json.xz"
    save(recording, path)
    assert load(path) == recording
    assert len(recording.frames) >= 30
    states = {stage.state for frame in recording.frames for stage in frame.snapshot.stages}
    assert {"done", "running", "waiting"} <= states


def test_a_recording_that_cannot_be_played_is_told(tmp_path: Path) -> None:
    path = tmp_path / "other.json.xz"
    path.write_bytes(lzma.compress(json.dumps({"schema": 2}).encode()))
    with pytest.raises(UserError, match="schema 2, this version plays 1"):
        load(path)
    path.write_bytes(b"torn")
    with pytest.raises(UserError, match="install the package anew"):
        load(path)


def test_a_recording_plays_to_its_end_lingers_and_begins_again() -> None:
    recording = load(DEMO)
    few = Recording(2.0, recording.frames[:3], {"9_0_0": "a line\n"})
    now = [100.0]
    feed = RecordedFeed(few, clock=lambda: now[0])
    seen = []
    for at in (0.0, 3.9, 4.0, 5.9 + LINGER_S, 6.0 + LINGER_S):
        now[0] = 100.0 + at
        seen.append(feed.look() is few.frames[0].snapshot)
    assert seen == [True, False, False, False, True]
    path = feed.log("captions", "00001-captions", "9_0_0")
    assert path is not None and path.read_text() == "a line\n"
    assert feed.log("captions", "00001-captions", "9_1_0") is None


def test_the_demo_names_no_place_of_the_machine_it_was_made_on() -> None:
    text = lzma.decompress(DEMO.read_bytes()).decode()
    assert "/tmp/" not in text and "/work/" not in text and "/root" not in text and "/home/" not in text


def test_a_log_is_read_on_line_by_line_and_from_its_beginning_when_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes("first\n10%\r20%\r\nhalf \u2014".encode())
    log = LogFile(path)
    assert log.read() == ["first", "20%"]
    with path.open("ab") as file:
        file.write(b" whole\n")
    assert log.read() == ["half \u2014 whole"]
    assert log.read() == []
    path.write_text("new\n")
    assert log.read() == ["new"]
    assert list(log.lines) == ["first", "20%", "half \u2014 whole", "new"]


def test_of_a_log_that_is_far_ahead_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("first\n")
    log = LogFile(path)
    assert log.read() == ["first"]
    with path.open("a") as file:
        file.writelines(f"{n:099}\n" for n in range(20_000))
    left_out, *lines = log.read()
    assert left_out == "… 1,500,000 bytes are left out here …"
    assert (len(lines), lines[-1]) == (4999, f"{19_999:099}")
    fresh = LogFile(path)
    assert fresh.read()[1:] == lines
    assert log.read() == fresh.read() == []


def test_a_progress_bar_without_a_line_end_and_a_long_line_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    log = LogFile(path)
    for percent in range(100):
        with path.open("ab") as file:
            file.write(b"".join(b"%d.%d%%\r" % (percent, n) for n in range(2000)))
        assert log.read() == []
        assert len(log._rest) < 100
    with path.open("ab") as file:
        file.write(b"100%\r\n" + b"x" * 300_000)
    assert log.read() == ["100%"]
    with path.open("ab") as file:
        file.write(b"y" * 300_000 + b"\nend\n")
    long, end = log.read()
    assert (set(long), end) == ({"x"}, "end") and len(long) < 10_000


def test_nobody_looks_after_a_while_in_the_background_or_without_a_key() -> None:
    now = [0.0]
    attention = Attention(clock=lambda: now[0])
    at_hand = []
    for now[0] in (AT_HAND_S - 1, AT_HAND_S, 0.0):
        at_hand.append(attention.is_at_hand)
    assert at_hand == [True, False, True]
    attention.lose_focus()
    now[0] = UNFOCUSED_S
    assert attention.why_paused == ""
    now[0] += 1
    assert "nobody looks" in attention.why_paused
    attention.touch()
    assert attention.why_paused == ""
    now[0] += UNTOUCHED_S + 1
    assert "any key goes on" in attention.why_paused
    attention.touch()
    attention.is_stopped = True
    assert "p goes on" in attention.why_paused


def test_the_helper_hands_over_answers_and_errors_in_order() -> None:
    told: list[Any] = []
    all_told = threading.Event()
    helper = Helper(lambda then, value: then(value))

    def failed(error: Any) -> None:
        told.append(type(error))

    helper.ask(lambda: 1, told.append, failed)
    helper.ask(lambda: 1 // 0, told.append, failed)
    helper.ask(lambda: 3, told.append, failed)
    helper.ask(all_told.set, lambda _: None, failed)
    assert all_told.wait(60)
    assert told == [1, ZeroDivisionError, 3]


def test_a_live_feed_shows_a_run_its_shards_captions_and_logs(app: App) -> None:
    app("submit", "stage=captions", "concepts.limit=4", "captions.shard_items=40", "cluster=local", "wait=true")
    feed = LiveFeed(app.run)
    assert feed.shards("captions/write") == []
    snapshot = feed.look()
    [captions] = [one for one in snapshot.stages if one.name == "captions"]
    rows = feed.shards("captions/write")
    assert [row.shard for row in rows] == list(range(captions.shards_total)) and {row.state for row in rows} == {"done"}
    assert len(feed.captions(3)) == 3
    life = captions.phases[0].lives[0]
    log = feed.log("captions", life.submission, life.name)
    assert log == app.path / "logs" / "captions" / f"{life.submission}_0.log" and log.exists()
    assert dataclasses.asdict(snapshot)["run"] == str(app.path)
