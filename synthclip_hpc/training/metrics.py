"""Metrics of training: append-only JSON lines, a file for each round of an attempt, and what they come to together.

A line for each step holds only what a repetition of the step gives again. Times have lines of their own, with `kind`:

    {"kind":"start","time":1767225600.0}
    {"epoch":0,"grad_norm":1.5,"logit_scale":14.3,"loss":8.3,"lr":1e-06,"samples":4096,"step":1}
    {"kind":"timing","step":20,"samples_per_s":9120.5, …}
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding import files

STEP_FIELDS = ("step", "epoch", "samples", "loss", "lr", "logit_scale", "grad_norm")


class MetricsWriter:
    """Appends to the metrics of one round; for rank 0.

    Each call is one write, so that a kill tears the last line at most. Metrics never stop training: what cannot be
    written (a full disk) is told once and counted.
    """

    def __init__(self, path: Path) -> None:
        """Make the file, or go on in it, and note the time: of a step done twice the later round's line is taken."""
        self.path = path
        self.lost_lines = 0
        """How many lines could not be written so far."""
        self._descriptor: int | None = None
        self._torn = False
        self._append([{"kind": "start", "time": round(time.time(), 3)}])

    def steps(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append steps, each with exactly the fields of STEP_FIELDS; `step` counts from 1. ValueError for others."""
        rows = list(rows)
        for row in rows:
            if row.keys() != set(STEP_FIELDS):
                raise ValueError(f"a step has the fields {', '.join(STEP_FIELDS)}; got {', '.join(row)}")
        self._append(rows)

    def timing(
        self,
        *,
        step: int,
        samples_per_s: float,
        data_wait_s: float,
        step_s: float,
        memory_gb: float | None = None,
        mfu: float | None = None,
    ) -> None:
        """Append the speed of the steps since the last look, up to `step`.

        `data_wait_s` and `step_s`: seconds a step, on average; `memory_gb`: the highest so far; `mfu`: the part of the
        device's arithmetic that the model used, 0 to 1. None where it is not known.
        """
        row = {
            "kind": "timing",
            "step": step,
            "samples_per_s": samples_per_s,
            "data_wait_s": data_wait_s,
            "step_s": step_s,
            "memory_gb": memory_gb,
            "mfu": mfu,
            "time": round(time.time(), 3),
        }
        self._append([row])

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Append something else that happened, under a kind of its own."""
        self._append([{**fields, "kind": kind, "time": round(time.time(), 3)}])

    def sync(self) -> None:
        """Flush to disk: before a checkpoint, as the steps before it are never done again."""
        self._guard(lambda descriptor: files.sync(descriptor), 0)

    def close(self) -> None:
        """Flush to disk and close; closing twice is fine."""
        if self._descriptor is not None:
            self.sync()
            descriptor, self._descriptor = self._descriptor, None
            files.close(descriptor)

    def _append(self, rows: list[Mapping[str, Any]]) -> None:
        if rows:
            self._guard(lambda descriptor: self._write(descriptor, b"".join(map(_line, rows))), len(rows))

    def _write(self, descriptor: int, data: bytes) -> None:
        data = b"\n" + data if self._torn else data
        self._torn = True
        files.write(descriptor, data)
        self._torn = False

    def _guard(self, effect: Callable[[int], None], num_lines: int) -> None:
        try:
            if self._descriptor is None:
                self._descriptor = files.open_append(self.path)
                self._torn = not files.ends_with_newline(self._descriptor)
            effect(self._descriptor)
        except OSError as error:
            if not self.lost_lines:
                print(f"metrics {self.path}: {error}; training goes on, lines may be missing", file=sys.stderr)
            self.lost_lines += num_lines


@dataclass(frozen=True)
class MergedMetrics:
    """What all rounds of all attempts wrote, each step once."""

    rows: list[dict[str, Any]]
    """One for each step, in order, with the fields of STEP_FIELDS."""
    timings: list[dict[str, Any]]
    """The lines about speed, by the time at which they were written."""
    differing: list[int]
    """Steps that were done twice with other values, to the last bit; on the CPU there are none."""
    missing: list[int]
    """Steps before the last one that no file has."""


def metrics_path(folder: Path, attempt: str, round_number: int) -> Path:
    """Return the file of one round of an attempt."""
    return folder / f"{attempt}-{round_number}.jsonl"


def merged_metrics(folder: Path) -> MergedMetrics:
    """Read all metrics of a folder. Torn lines, which kills leave, are passed over.

    Of a step that was done twice the line of the round that began last is taken: what training went on with.
    """
    merged: dict[int, dict[str, Any]] = {}
    differing, timings = set(), []
    for rows in sorted((_read(path) for path in folder.glob("*.jsonl")), key=_began):
        for row in rows:
            if row.get("kind") == "timing":
                timings.append(row)
            elif row.keys() == set(STEP_FIELDS):
                step = row["step"]
                # As text: NaN equals itself there, and 0.0 is not -0.0.
                if step in merged and _line(merged[step]) != _line(row):
                    differing.add(step)
                merged[step] = row
    missing = sorted(set(range(1, max(merged, default=0))) - merged.keys())
    timings.sort(key=lambda row: row["time"])
    return MergedMetrics([merged[step] for step in sorted(merged)], timings, sorted(differing), missing)


def write_metrics(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, whole or not at all; equal rows give equal bytes, and floats are read back exactly."""
    files.replace_file(path, b"".join(map(_line, rows)))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read what `write_metrics` wrote."""
    return _read(path)


def _line(row: Mapping[str, Any]) -> bytes:
    plain = {key: repr(value) if _is_odd(value) else value for key, value in row.items()}
    return json.dumps(plain, sort_keys=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _is_odd(value: Any) -> bool:
    """Tell NaN and infinities: strict JSON has none, and a loss that diverged must be told all the same."""
    return isinstance(value, float) and not math.isfinite(value)


def _read(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in files.read_file(path).split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append({key: float(value) if value in ("nan", "inf", "-inf") else value for key, value in row.items()})
    return rows


def _began(rows: list[dict[str, Any]]) -> tuple[float, int]:
    """The time of a file's start; one whose start line was lost goes by its first line about speed, or comes first."""
    times = [row["time"] for row in rows if "time" in row]
    return (min(times, default=0.0), min((row["step"] for row in rows if "step" in row), default=0))
