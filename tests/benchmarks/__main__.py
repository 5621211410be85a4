"""`python -m tests.benchmarks [name ...] [--record]`: measure what has a floor, and say pass or fail.

Exit codes: 0 all floors held; 1 one was missed, or a benchmark could not be carried out; 2 bad arguments. `--record`
appends the table to RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.benchmarks import machine
from tests.benchmarks.measure import Result

BENCHMARKS = {
    "help": "start_up",
    "dry-run": "planning",
    "forecast": "forecast",
    "status": "looking",
    "status-scale": "status_scale",
    "template": "writing",
    "language-models": "caption_engines",
    "balance": "balancing",
    "matching": "matching",
    "merge": "merging",
    "render": "rendering_stage",
    "diffusion": "diffusion_speed",
    "files": "file_count",
    "tars": "tar_writing",
    "glyphs": "glyphs_speed",
    "loss": "tiled_loss",
    "eval-features": "eval_features",
    "clip-benchmark": "clip_benchmark_equality",
    "probes": "probes",
    "train": "training_speed",
    "train-checkpoints": "training_checkpoints",
    "zipf": "zipf_vs_balanced",
}
RESULTS = Path(__file__).with_name("RESULTS.md")


def main(argv: list[str]) -> int:
    """Run the named benchmarks, all by default; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"one or more of {', '.join(BENCHMARKS)} (default: all)"
    )
    parser.add_argument("--record", action="store_true", help="append the table to tests/benchmarks/RESULTS.md")
    given = parser.parse_args(argv)
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"unknown: {', '.join(unknown)}; valid: {', '.join(BENCHMARKS)}")
    names = given.names or list(BENCHMARKS)
    with tempfile.TemporaryDirectory(prefix="synthclip-bench-") as temporary:
        folder = Path(temporary)
        where = f"{machine.describe(folder)}; {machine.load()}"
        print(where, flush=True)
        results = [result for name in names for result in _measured(name, folder / name)]
    if given.record:
        _record(results, where, " ".join(["python -m tests.benchmarks", *argv]))
    return 0 if all(result.passed is not False for result in results) else 1


def _measured(name: str, folder: Path) -> list[Result]:
    folder.mkdir()
    try:
        results = importlib.import_module(f"tests.benchmarks.{BENCHMARKS[name]}").measure(folder)
    except Exception as error:
        # The others are worth their figures all the same; this one counts as missed.
        traceback.print_exc()
        results = [Result(name, f"{type(error).__name__}", "to be carried out", False)]
    for result in results:
        print(f"{_verdict(result):<5} {result.what:<58} {result.value:<44} {result.floor}", flush=True)
    return list(results)


def _verdict(result: Result) -> str:
    return {True: "pass", False: "FAIL", None: "-"}[result.passed]


def _record(results: list[Result], where: str, command: str) -> None:
    heading = f"## Benchmarks, {time.strftime('%Y-%m-%d')}, commit {machine.commit()}"
    rows = [f"| {one.what} | {one.value} | {one.floor} | {_verdict(one)} |" for one in results]
    table = ["| what | value | floor | |", "| --- | --- | --- | --- |", *rows]
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write("\n".join([heading, "", f"`{command}` on {where}", "", *table, "", ""]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
