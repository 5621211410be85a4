"""The product as its user has it: commands, their exit codes and what they print. Nothing else of it is driven."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]
RUN_OF = "CHAOS_RUN"
"""Environment variable that all processes of a run inherit, wherever they are started."""


class ProductFailed(AssertionError):
    """A command ended with an exit code that it should not have; the message has its words."""


@dataclass
class Product:
    """One run and the commands on it."""

    run: Path
    place: tuple[str, ...]
    """Arguments of every `submit` and `resume` that say where: `cluster=…` and more."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def submit(self, *arguments: str) -> str:
        """Submit; returns what was printed."""
        return self.call("submit", *arguments, *self.place)

    def resume(self, *arguments: str) -> str:
        """Resume; returns what was printed."""
        return self.call("resume", *arguments, *self.place)

    def resume_twice_at_once(self, *arguments: str) -> list[str]:
        """Start two `resume` at the same moment; returns what each printed."""
        pair = [self.start("resume", *arguments, *self.place) for _ in range(2)]
        answers = []
        for process in pair:
            text, _ = process.communicate(timeout=120)
            if process.returncode != 0:
                raise ProductFailed(f"resume (one of two at once) exited {process.returncode}:\n{text}")
            answers.append(text)
        return answers

    def status(self) -> dict[str, Any]:
        """`status --json`, parsed."""
        answer: dict[str, Any] = json.loads(self.call("status", "--json"))
        return answer

    def cancel(self) -> str:
        """Cancel all that is alive."""
        return self.call("cancel")

    def verify(self) -> str:
        """Verify; raises ProductFailed when it finds anything."""
        return self.call("verify")

    def call(self, verb: str, *arguments: str, timeout_s: float = 120) -> str:
        """Run one command to its end; raises ProductFailed unless it exits 0."""
        process = self.start(verb, *arguments, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=timeout_s)
        if process.returncode != 0:
            raise ProductFailed(f"{verb} {' '.join(arguments)} exited {process.returncode}:\n{out}{err}")
        return out

    def start(self, verb: str, *arguments: str, stderr: int = subprocess.STDOUT) -> subprocess.Popen[str]:
        """Start one command."""
        dropped = ("SLURM", "SBATCH", "SYNTHCLIP")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        return subprocess.Popen(
            [sys.executable, "-m", f"synthclip_hpc.{verb}", *arguments, f"run={self.run}"],
            cwd=ROOT,
            env={**inherited, **self.environment, RUN_OF: str(self.run)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def is_sealed(self, stage: str, phase: str) -> bool:
        """Whether the phase is finished, by its seal."""
        return (self.run / stage / phase / "seal.json").exists()

    def submissions(self) -> list[dict[str, Any]]:
        """The records of all submissions, in order of number."""
        records = sorted((self.run / "submissions").glob("[0-9]*/record.json"))
        return [{"name": path.parent.name, **json.loads(path.read_text())} for path in records]

    def phases_by_job(self) -> dict[str, tuple[str, str]]:
        """Stage and phase by what the attempts of a submission are called after: their job."""
        found: dict[str, tuple[str, str]] = {}
        for one in self.submissions():
            jobs = [*one.get("array_jobs", ()), f"local{int(one['name'].partition('-')[0])}"]
            found |= {str(job): (one["stage"], one["phase"]) for job in jobs}
        return found

    def log_tails(self, lines: int = 15) -> str:
        """The ends of the newest logs, for the report of a failure."""
        logs = sorted((self.run / "logs").rglob("*.log"), key=lambda path: path.stat().st_mtime)[-4:]
        return "\n".join(f"--- {path.name}\n{tail(path, lines)}" for path in logs)


def prepare(product: Product, scenario: Scenario, bank: Path, run_seed: int) -> None:
    """Run what the stage builds on, on this machine and undisturbed; once for all runs of a seed beside one another."""
    if scenario.prelude is None:
        return
    made = product.run.with_name(f"prelude-{run_seed}")
    if not made.exists():
        words = scenario.identity(bank, run_seed, stage=scenario.prelude)
        Product(made, ()).call("submit", *words, "cluster=local", "workers=2", "wait=true", timeout_s=600)
    shutil.copytree(made, product.run)


def wait_until_sealed(product: Product, stage: str, phase: str, timeout_s: float) -> bool:
    """Whether the phase was sealed within the time."""
    deadline = time.monotonic() + timeout_s
    while not product.is_sealed(stage, phase):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def tail(path: Path, lines: int) -> str:
    """The last lines of a file; says so when it cannot be read."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"
