"""The table of a snapshot is whole at every width: columns go and numbers get short, none is cut."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from synthclip_hpc.monitor.parts import Alarm, Span
from synthclip_hpc.monitor.short import percent_done, short_count, short_rate, short_span, short_time
from synthclip_hpc.monitor.snapshot import Snapshot, Source, StageStatus
from synthclip_hpc.monitor.sums import sum_stage, unreadable
from synthclip_hpc.monitor.view import print_snapshot, render


def stage(name: str, **changes: Any) -> StageStatus:
    return replace(sum_stage(name, [replace(unreadable("write", ""), message="")]), **changes)


LARGE = Snapshot(
    "/run",
    0.0,
    (
        stage("captions", state="done", shards_done=30_000, shards_total=30_000, items_done=30_000_000,
              items_total=30_000_000, items_rejected=1_234_567, items_per_s=3456.7, attempts=1012),
        stage("render", state="running", shards_done=12_345, shards_total=30_000, items_done=12_345_678,
              items_total=30_000_000, items_rejected=12_345, items_per_s=1234.5,
              eta_now=Span(172_800.0, 277_200.0), attempts=1000, running=250),
        stage("train", state="blocked", shards_total=1, items_done=3, items_total=40),
    ),
    True,
    {"files": Source(0.0, None)},
    (Alarm("failed", "render/draw", "3 shards are open"),),
)  # fmt: skip

WHOLE = [
    "stage     state           shards                  items   rejected  items/s               ETA          attempts",
    "captions  done     30,000/30,000  30,000,000/30,000,000  1,234,567  3,456.7                 -             1,012",
    "render    running  12,345/30,000  12,345,678/30,000,000     12,345  1,234.5  2d 00h to 3d 05h  1,000 (250 live)",
    "train     blocked            0/1                   3/40          0        -                 -                 0",
]
BY_WIDTH = {
    160: WHOLE,
    80: [
        "stage     state       shards      items  rejected  items/s      ETA  live",
        "captions  done       30k/30k    30M/30M     1.23M     3457        -     0",
        "render    running  12.3k/30k  12.3M/30M     12.3k     1234  48h-77h   250",
        "train     blocked        0/1       3/40         0        -        -     0",
    ],
    60: [
        "stage     state       shards  items/s      ETA  live",
        "captions  done       30k/30k     3457        -     0",
        "render    running  12.3k/30k     1234  48h-77h   250",
        "train     blocked        0/1        -        -     0",
    ],
    40: [
        "stage     state       shards      ETA",
        "captions  done       30k/30k        -",
        "render    running  12.3k/30k  48h-77h",
        "train     blocked        0/1        -",
    ],
    30: [
        "stage    state     %     ETA",
        "captions done    100       -",
        "render   running  41 48h-77h",
        "train    blocked   7       -",
    ],
    20: [
        "stage    state     %",
        "captions done    100",
        "render   running  41",
        "train    blocked   7",
    ],
}


def lines(snapshot: Snapshot, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(render(snapshot))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", BY_WIDTH)
def test_the_table_of_a_large_run_at_usual_widths(width: int) -> None:
    assert lines(LARGE, width)[1:5] == BY_WIDTH[width]


def test_no_width_cuts_a_number_or_a_name() -> None:
    for width in range(1, 130):
        shown = lines(LARGE, width)
        assert max(map(len, shown)) <= width
        assert not any("…" in line for line in shown)
        assert "captions" in "".join(shown)


def test_what_is_no_terminal_gets_every_number_in_full_and_no_broken_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = Alarm("failed", "render/draw", "many words " * 100)
    print_snapshot(replace(LARGE, alarms=(long,)))
    out = capsys.readouterr().out.splitlines()
    assert out[1:5] == WHOLE
    assert out[5].startswith("render/draw: many words") and out[5].count("many words") == 100


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0"), (9_999, "9999"), (10_000, "10k"), (12_399, "12.3k"), (999_999, "999k"), (1_000_000, "1M"),
        (1_239_999, "1.23M"), (29_999_999, "29.9M"), (30_000_000, "30M"), (2_500_000_000, "2.5G"),
    ],
)  # fmt: skip
def test_a_short_count_is_never_more_than_there_is(count: int, words: str) -> None:
    assert short_count(count) == words


def test_short_rates_and_times_and_shares() -> None:
    assert [short_rate(rate) for rate in (None, 0.04, 99.94, 100.4, 12_345.6)] == ["-", "0.0", "99.9", "100", "12.3k"]
    assert [short_time(s) for s in (0.4, 119, 120, 7199, 7200, 359_000, 360_000)] == [
        "0s", "119s", "2m", "120m", "2h", "100h", "4d",
    ]  # fmt: skip
    assert [short_span(one) for one in (None, Span(60.0, 60.2), Span(60.0, 9000.0))] == ["-", "60s", "60s-2h"]
    nearly = stage("render", shards_done=29_999, shards_total=30_000)
    assert [percent_done(one) for one in (nearly, LARGE.stages[0], LARGE.stages[2], stage("x"))] == [
        "99", "100", "7", "-",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shards", "items", "rejected", "words"),
    [((1, 12), (18_000, 24_000), 1_200, "80"), ((11, 12), (24_000, 24_000), 0, "99"), ((12, 12), (0, 24_000), 0, "100"),
     ((3, 12), (0, 0), 0, "25")],
)  # fmt: skip
def test_a_share_is_that_of_the_items_where_they_are_known(
    shards: tuple[int, int], items: tuple[int, int], rejected: int, words: str
) -> None:
    one = stage("captions", shards_done=shards[0], shards_total=shards[1], items_done=items[0], items_total=items[1])
    assert percent_done(replace(one, items_rejected=rejected)) == words
