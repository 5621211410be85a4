"""What the harness asks of Slurm itself, with its own words: the queue, the lives of each element, preempting jobs."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from slurm.onemachine import Lab
from slurm.onemachine.client import ask

_LIFE = "JobID,State,Start,End,NodeList,ExitCode"


@dataclass(frozen=True)
class Life:
    """One incarnation of an element as accounting tells it."""

    word: str
    """Slurm's word for how it ended."""
    start: float | None
    end: float | None
    node: str
    exit_code: str


@dataclass(frozen=True)
class Cluster:
    """The one-machine Slurm, seen by the harness."""

    lab: Lab

    def names(self, run: Path) -> str:
        """The prefix of a run's job names."""
        return f"synthclip-{json.loads((run / 'provenance.json').read_text())['run_id']}-"

    def queue(self, run: Path) -> list[tuple[str, str, str]]:
        """(id, name, state) of everything of the run that has not ended."""
        lines = ask(self.lab, "squeue", "-r", "-h", "-o", "%i|%j|%T").splitlines()
        rows = [tuple(line.split("|")) for line in lines if "|" in line]
        prefix = self.names(run)
        return [(row[0], row[1], row[2]) for row in rows if row[1].startswith(prefix)]

    def cancel(self, run: Path) -> list[str]:
        """`scancel` all jobs of the run by id; returns the ids."""
        ids = sorted({row[0].split("_")[0] for row in self.queue(run)})
        if ids:
            ask(self.lab, "scancel", *ids)
        return ids

    def requeue(self, element: str) -> None:
        """`scontrol requeue` of one element. Raises LabError when Slurm refuses."""
        ask(self.lab, "scontrol", "requeue", element)

    def preempt(self, node: str, seconds: int) -> str:
        """Submit a job of the highest partition that needs all CPUs of the node; returns its id."""
        out = ask(
            self.lab,
            *("sbatch", "--parsable", "-p", "high", "-w", node, "-n", "1", "-c", str(self.lab.cpus), "--mem=100"),
            *("-t", "2", "-J", "chaos-preemptor", "-o", "/dev/null", "--wrap", f"sleep {seconds}"),
        )
        return out.strip().split(";")[0]

    def lives(self, jobs: list[str]) -> dict[str, list[Life]]:
        """All incarnations of the elements of these arrays (or plain jobs), oldest first."""
        if not jobs:
            return {}
        lives: dict[str, list[Life]] = defaultdict(list)
        out = ask(self.lab, "sacct", "-D", "-X", "-n", "-P", "-o", _LIFE, "-j", ",".join(jobs), timeout_s=30)
        for line in out.splitlines():
            job, state, start, end, node, code = line.split("|")
            if "[" not in job:
                lives[job if "_" in job else f"{job}_0"].append(
                    Life(state.split()[0], _epoch(start), _epoch(end), node, code)
                )
        return {job: sorted(rows, key=lambda life: life.start or 9e12) for job, rows in lives.items()}

    def settle(self, run: Path, timeout_s: float = 60) -> bool:
        """Wait until nothing of the run is in the queue."""
        deadline = time.monotonic() + timeout_s
        while self.queue(run):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True


def _epoch(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
