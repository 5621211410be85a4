"""What a finished training leaves beside the weights: metrics, plots, checksums."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json
from sharding.files import checksum, list_directory, read_file, replace_file, sync_directory, write_file
from synthclip_hpc.dataset.columns import CHECKSUMS
from synthclip_hpc.dataset.folder import fault
from synthclip_hpc.errors import UserError
from synthclip_hpc.run import Run
from synthclip_hpc.training import places
from synthclip_hpc.training.metrics import merged_metrics, write_metrics

METRICS = "metrics.jsonl"


def add_outcome(run: Run, staged: Path, tell: Callable[..., None]) -> None:
    """Add the metrics of all steps and the checksums to the exported folder; write plots and times beside it.

    In the folder is only what a repetition gives again. `tell` writes an event of the journal.
    """
    from synthclip_hpc.training.plots import loss_png, throughput_png

    merged = merged_metrics(places.metrics_folder(run))
    if merged.differing:
        tell("metrics_differ", steps=merged.differing[:100], num_steps=len(merged.differing))
    if merged.missing:
        tell("metrics_missing", steps=merged.missing[:100], num_steps=len(merged.missing))
    write_metrics(staged / METRICS, merged.rows)
    _write_checksums(staged)
    write_metrics(run.path / "train" / METRICS, sorted([*merged.rows, *merged.timings], key=lambda row: row["step"]))
    if not merged.rows:
        tell("no_metrics", message=f"no step was written to {places.metrics_folder(run)}; the weights are whole")
        return
    last = merged.rows[-1]
    broken = {number for path in places.broken_files(run) for number, _, _ in json.loads(path.read_bytes())}
    told = {key: last[key] for key in ("step", "samples", "loss")} | {"broken_samples": len(broken)}
    replace_file(run.path / "train" / "outcome.json", canonical_json(told))
    try:
        replace_file(run.path / "train" / "loss.png", loss_png(merged.rows))
        if merged.timings:  # less than a second says nothing of speed
            replace_file(run.path / "train" / "throughput.png", throughput_png(merged.timings))
    except UserError as error:  # matplotlib is an extra
        tell("no_plots", message=str(error))


def fault_of_export(run: Run) -> str | None:
    """Return what is wrong with the exported folder, None when it is whole."""
    return fault(places.export_folder(run), with_tars=True)


def tail(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Return the whole lines of a file behind `offset`, as JSON objects, and where the next ones begin."""
    try:
        data = read_file(path, offset)
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    lines = []
    for line in whole.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # torn by a kill, and gone on behind it
    return [line for line in lines if isinstance(line, dict)], offset + len(whole)


def _write_checksums(folder: Path) -> None:
    names = [name for name in list_directory(folder) if name != CHECKSUMS]
    sums = "".join(f"{checksum(folder / name)[1]}  {name}\n" for name in names)
    write_file(folder / CHECKSUMS, sums.encode())
    sync_directory(folder)
