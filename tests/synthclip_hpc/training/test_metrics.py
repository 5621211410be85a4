"""Metrics: a line a step, whole over kills, and the same for the same steps."""

from __future__ import annotations

import json
import math
import os
from types import SimpleNamespace

import pytest

from sharding import files
from synthclip_hpc.training import metrics
from synthclip_hpc.training.metrics import MetricsWriter, merged_metrics, metrics_path, read_metrics, write_metrics


def row(step: int, loss: float = 0.1 + 0.2) -> dict:
    return {
        "step": step,
        "epoch": 0,
        "samples": 8 * step,
        "loss": loss,
        "lr": 1e-6,
        "logit_scale": 14.285714,
        "grad_norm": 1 / 3,
    }


@pytest.fixture
def clock(monkeypatch):
    times = iter(range(1_000, 2_000))
    monkeypatch.setattr(metrics, "time", SimpleNamespace(time=lambda: float(next(times))))


def write(path, *rows) -> None:
    writer = MetricsWriter(path)
    writer.steps(rows)
    writer.close()


def test_step_lines_hold_only_what_a_repetition_gives_again(tmp_path, clock):
    path = metrics_path(tmp_path / "metrics", "7_0_1", 2)
    assert path.name == "7_0_1-2.jsonl"
    writer = MetricsWriter(path)
    writer.steps([row(1), row(2)])
    writer.timing(step=2, samples_per_s=100.0, data_wait_s=0.1, step_s=0.5, memory_gb=1.5)
    writer.close()
    start, first, second, timing = [json.loads(line) for line in path.read_text().splitlines()]
    assert start == {"kind": "start", "time": 1000.0}
    assert (first, second) == (row(1), row(2))
    assert timing["kind"] == "timing" and timing["mfu"] is None and timing["time"] == 1001.0


def test_a_step_with_other_fields_is_refused(tmp_path):
    writer = MetricsWriter(tmp_path / "a-0.jsonl")
    with pytest.raises(ValueError, match="a step has the fields step, epoch"):
        writer.steps([{**row(1), "time": 1.0}])
    writer.close()


def test_steps_done_twice_are_taken_once_and_are_equal_to_the_bit(tmp_path, clock):
    # The later round has the name that is sorted first.
    write(metrics_path(tmp_path, "9_0_0", 0), row(1), row(2), row(3))
    write(metrics_path(tmp_path, "10_0_0", 0), row(3), row(4))
    merged = merged_metrics(tmp_path)
    assert merged.rows == [row(1), row(2), row(3), row(4)]
    assert merged.differing == [] and merged.missing == []


def test_steps_that_came_out_otherwise_are_told_and_the_later_round_counts(tmp_path, clock):
    off = math.nextafter(0.3, 1)
    write(metrics_path(tmp_path, "9_0_0", 0), row(1), row(2, 0.3), row(3, -0.0))
    write(metrics_path(tmp_path, "10_0_0", 0), row(2, off), row(3, 0.0))
    merged = merged_metrics(tmp_path)
    assert merged.differing == [2, 3] and [one["loss"] for one in merged.rows] == [0.1 + 0.2, off, 0.0]


def test_torn_lines_are_passed_over_and_a_later_line_is_whole(tmp_path):
    path = tmp_path / "a-0.jsonl"
    write(path, row(1), row(2), row(3))
    path.write_bytes(path.read_bytes()[:-20])
    assert merged_metrics(tmp_path).rows == [row(1), row(2)]
    write(path, row(5))
    merged = merged_metrics(tmp_path)
    assert [one["step"] for one in merged.rows] == [1, 2, 5] and merged.missing == [3, 4]


def test_losses_that_are_not_finite_are_strict_json_and_are_read_back(tmp_path):
    write(tmp_path / "a-0.jsonl", row(1, math.nan), row(2, -math.inf))
    write(tmp_path / "b-0.jsonl", row(1, math.nan))
    for line in (tmp_path / "a-0.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    merged = merged_metrics(tmp_path)
    assert math.isnan(merged.rows[0]["loss"]) and merged.rows[1]["loss"] == -math.inf and merged.differing == []


def test_timings_come_in_the_order_of_time(tmp_path, clock):
    writers = [MetricsWriter(tmp_path / name) for name in ("b-0.jsonl", "a-0.jsonl")]
    for step, writer in enumerate(writers, start=1):
        writer.timing(step=step, samples_per_s=1.0, data_wait_s=0.0, step_s=1.0)
        writer.close()
    assert [one["step"] for one in merged_metrics(tmp_path).timings] == [1, 2]


def test_written_rows_are_the_same_bytes_each_time_and_read_back_exactly(tmp_path):
    rows = [row(1, 5e-324), row(2, 1.7976931348623157e308), row(3, 0.1)]
    write_metrics(tmp_path / "one", rows)
    write_metrics(tmp_path / "two", [dict(reversed(list(one.items()))) for one in rows])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert read_metrics(tmp_path / "one") == rows


def test_a_full_disk_is_told_once_and_training_goes_on(tmp_path, monkeypatch, capsys):
    writer = MetricsWriter(tmp_path / "a-0.jsonl")

    def full(descriptor, data):
        os.write(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        writer.steps([row(1), row(2)])
        writer.steps([row(3)])
    writer.steps([row(4)])
    writer.close()
    assert writer.lost_lines == 3 and capsys.readouterr().err.count("No space left") == 1
    merged = merged_metrics(tmp_path)
    assert merged.rows == [row(4)] and merged.missing == [1, 2, 3]


def test_without_a_folder_there_are_no_metrics(tmp_path):
    merged = merged_metrics(tmp_path / "none")
    assert (merged.rows, merged.timings, merged.missing) == ([], [], [])
