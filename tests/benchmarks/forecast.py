"""`probe`'s forecast beside what the work then took: element-hours and wall time of captions and render.

One shard is probed, its forecast is kept, and the rest is submitted; both the probe and the run are interrupted once:
on the one-machine Slurm by a job of a higher partition that needs the node, with local processes by SIGKILL. What the
work took is the sum of all lives of all elements, and the time from the first's start to the last's end: as Slurm's
accounting, or a local run's journals, have them.

The engines are slowed down, so that the nodes, which share one machine, do not compete for its cores: measured is the
forecast and not the machine.

    python -m tests.benchmarks.forecast [local|onemachine] [captions] [render]
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sharding.journal import read_events
from slurm.onemachine import Lab, down, missing_programs, up
from synthclip_hpc.foresight.chain import forecast_link, target_of
from synthclip_hpc.foresight.forecast import Forecast
from synthclip_hpc.foresight.pace import Range
from synthclip_hpc.launch.chain import bound_links
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions
from tests.benchmarks.bank import write_bank
from tests.benchmarks.measure import Result, command, environment, run_process
from tests.chaos.cluster import Cluster

STAGES = ("captions", "render")
SHARDS, BATCH, ELEMENTS, NODES = 25, 10, 4, 4
CAPTIONS_A_SHARD, CAPTIONS_PER_S = 100, 4.0
IMAGES_A_SHARD, IMAGES_PER_S = 50, 2.0
"""A shard takes 25 s, an element works for two and a half minutes."""
BOUND = 0.25
_PATIENCE_S = 900.0
_PREEMPTION_S = 5


class Place(Protocol):
    """Where the work is done, and how it is interrupted."""

    @property
    def cluster(self) -> str: ...

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def environment(self) -> Mapping[str, str]: ...

    def interrupt(self, start: Mapping[str, Any]) -> None:
        """Interrupt the attempt with this `start` event."""

    def lives(self, run: Run, submission: Submission) -> list[Range]:
        """Return start and end of every life of the submission's elements, in unix seconds."""


@dataclass
class Local:
    """Processes of this machine."""

    cluster: str = "local"
    keys: tuple[str, ...] = ("cluster=local", "workers=2")
    environment: Mapping[str, str] = field(default_factory=dict)

    def interrupt(self, start: Mapping[str, Any]) -> None:
        os.kill(int(start["pid"]), signal.SIGKILL)

    def lives(self, run: Run, submission: Submission) -> list[Range]:
        return [(events[0]["time"], events[-1]["time"]) for events in _attempts(run, submission)]


class OneMachine:
    """The one-machine Slurm, on a partition that is preempted."""

    cluster = "slurm"
    keys = ("cluster=slurm", "slurm.profile=onemachine", "slurm.partition=low", f"slurm.elements={ELEMENTS}")

    def __init__(self, lab: Lab) -> None:
        self.environment = lab.environment()
        self._slurm = Cluster(lab)

    def interrupt(self, start: Mapping[str, Any]) -> None:
        self._slurm.preempt(start["node"], _PREEMPTION_S)

    def lives(self, run: Run, submission: Submission) -> list[Range]:
        found = self._slurm.lives(submission.record["array_jobs"])
        return [(one.start, one.end) for lives in found.values() for one in lives if one.start and one.end is not None]


def measure(folder: Path) -> list[Result]:
    """Measure on the one-machine Slurm, or say why not."""
    missing = missing_programs()
    if missing:
        return [Result("probe's forecast, Slurm", f"not measured: no {', '.join(missing)}", "-", None)]
    with _lab() as lab:
        return _all(folder, OneMachine(lab))


@contextmanager
def _lab() -> Iterator[Lab]:
    # Its path holds Unix sockets and must be short.
    place = Path(tempfile.mkdtemp(prefix="sl-fore-"))
    try:
        # One CPU a node: whoever preempts a node meets one element, and it alone.
        yield up(place / "lab", nodes=NODES, cpus=1)
    finally:
        down(place / "lab")
        shutil.rmtree(place, ignore_errors=True)


def _all(folder: Path, place: Place, stages: Sequence[str] = STAGES) -> list[Result]:
    return [result for stage in stages for result in _compare(*_prepared(folder, stage), folder, place, stage)]


def _prepared(folder: Path, stage: str) -> tuple[Run, list[str]]:
    """Return a run in which the stage is the next, and the keys that it is to be done with."""
    run = Run(folder / stage)
    if stage == "captions":
        bank = write_bank(folder / "bank.txt", SHARDS * CAPTIONS_A_SHARD)
        pace = f"captions.template.items_per_s={CAPTIONS_PER_S}"
        return run, [f"concepts.bank={bank}", f"captions.shard_items={CAPTIONS_A_SHARD}",
                     f"captions.batch_items={BATCH}", pace]  # fmt: skip
    before = ("preset=laptop", f"balance.target={SHARDS * IMAGES_A_SHARD}", f"balance.shard_items={IMAGES_A_SHARD}")
    words = command("submit", "stage=captions,balance", *before, "cluster=local", "wait=true", f"run={run.path}")
    run_process(words, folder, environment())
    return run, [f"render.batch_items={BATCH}", f"render.items_per_s={IMAGES_PER_S}"]


def _compare(run: Run, keys: Sequence[str], folder: Path, place: Place, stage: str) -> list[Result]:
    env = environment(**place.environment)
    words = [f"stage={stage}", *keys, *place.keys, f"run={run.path}"]
    _say(f"{stage}: probe")
    with _started(command("probe", *words), folder, env) as probe:
        submission = _submission(run, stage, {})
        _interrupt(run, submission, place, shards_done=0)
        out, _ = probe.communicate(timeout=_PATIENCE_S)
        if probe.returncode != 0:
            raise RuntimeError(f"probe ended with {probe.returncode}:\n{out}")
    _say(out.strip())
    known = {one.name for one in all_submissions(run)}
    forecast = _forecast(run, stage, place)
    run_process(command("submit", *words), folder, env)
    submission = _submission(run, stage, known)
    _interrupt(run, submission, place, shards_done=SHARDS // 3)
    deadline = time.monotonic() + _PATIENCE_S
    directory = run.phase(submission.stage, submission.phase)
    while not directory.seal_path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{stage} was not sealed within {_PATIENCE_S:.0f} s")
        time.sleep(1.0)
    time.sleep(2.0)  # accounting is told a moment later
    lives = place.lives(run, submission)
    interruptions = len(lives) - submission.num_elements
    if interruptions < 1:
        raise RuntimeError(f"{stage}: nothing was interrupted: {lives}")
    took = sum(end - start for start, end in lives)
    wall = max(end for _, end in lives) - min(start for start, _ in lives)
    what = f"probe's forecast, {place.cluster} {stage}, {submission.num_elements} elements, {interruptions} interrupted"
    return [
        _result(f"{what}: element-hours", forecast.element_s, took),
        _result(f"{what}: wall", forecast.wall_s, wall),
    ]


def _forecast(run: Run, stage: str, place: Place) -> Forecast:
    """Return what `dry-run` would tell of the stage now."""
    before = dict(os.environ)
    os.environ.update(place.environment)
    try:
        config = run.load_config()
        (link,) = bound_links(run, [stage])
        return forecast_link(run, link, config, target_of(config, place.cluster))
    finally:
        os.environ.clear()
        os.environ.update(before)


def _result(what: str, forecast: Range, actual: float) -> Result:
    middle = sum(forecast) / 2
    off = middle / actual - 1
    _say(f"{what}: {forecast[0]:.1f} - {forecast[1]:.1f} s, took {actual:.1f} s")
    hours = " - ".join(f"{end / 3600:.4f}" for end in forecast)
    return Result(what, f"{hours} h, took {actual / 3600:.4f} h: {off:+.0%}", f"within {BOUND:.0%}", abs(off) <= BOUND)


def _interrupt(run: Run, submission: Submission, place: Place, shards_done: int) -> None:
    """Interrupt one element once so many shards are done and it is in the middle of another."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(0.5)
        attempts = _attempts(run, submission)
        if sum(event["event"] == "shard_done" for events in attempts for event in events) < shards_done:
            continue
        at_work = [events for events in attempts if events[-1]["event"] == "progress"]
        if at_work:
            _say(f"interrupting {at_work[0][0]['attempt']} on {at_work[0][0]['node']}")
            place.interrupt(at_work[0][0])
            return
    raise RuntimeError(f"{submission.name}: nothing was at work within {_PATIENCE_S:.0f} s")


def _attempts(run: Run, submission: Submission) -> list[list[dict[str, Any]]]:
    """Return the events of each life of the submission's elements."""
    directory = run.phase(submission.stage, submission.phase)
    found = (read_events(directory.journal_path(attempt))[0] for attempt in directory.attempts())
    return [
        events
        for events in found
        if events and events[0].get("submission") == submission.name and events[0].get("role", "work") == "work"
    ]


def _submission(run: Run, stage: str, known: set[str] | dict[str, str]) -> Submission:
    """Return the newest submission of a stage that is not among the known ones, once it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        fresh = [one for one in all_submissions(run) if one.stage == stage and one.name not in known]
        if fresh and fresh[-1].record.get("state") != "claimed":
            return fresh[-1]
        time.sleep(0.2)
    raise RuntimeError(f"no submission of {stage}")


@contextmanager
def _started(words: Sequence[str], folder: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        words, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    """Measure in one place; return 0 when all forecasts were near enough."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.forecast", description=measure.__doc__)
    parser.add_argument("where", nargs="?", choices=("onemachine", "local"), default="onemachine")
    parser.add_argument("stages", nargs="*", metavar="stage", help=f"of {', '.join(STAGES)} (default: all)")
    given = parser.parse_args(argv)
    if unknown := [stage for stage in given.stages if stage not in STAGES]:
        parser.error(f"unknown: {', '.join(unknown)}; valid: {', '.join(STAGES)}")
    stages = given.stages or STAGES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synthclip-fore-")))
        place: Place = Local() if given.where == "local" else OneMachine(stack.enter_context(_lab()))
        results = _all(folder, place, stages)
    for one in results:
        print(f"{'pass' if one.passed else 'FAIL'}  {one.what:<78} {one.value:<44} {one.floor}")
    return 0 if all(one.passed for one in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
