"""The application as a user meets it: a command in, its exit code and its words out."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.attempt import Attempt
from slurm.signals import StopFlag
from synthclip_hpc.errors import run_command
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import Submission, all_submissions, load_submission, update

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """All it said, without the line breaks and frames of a terminal's width."""
        return " ".join((self.out + self.err).replace("│", " ").split())


def call(verb: str, *argv: str) -> Outcome:
    """Run a command in this process."""
    command = getattr(importlib.import_module(f"synthclip_hpc.{verb}"), verb)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run_command(command, list(argv))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Outcome(code, out.getvalue(), err.getvalue())


def command_line(verb: str, *argv: str) -> list[str]:
    return [sys.executable, "-m", f"synthclip_hpc.{verb}", *argv]


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"} | changes


def spawn(verb: str, *argv: str, cwd: Path | None = None, timeout_s: float = 60, **options: Any) -> Outcome:
    """Run a command as a process of its own, as a shell would."""
    done = subprocess.run(
        command_line(verb, *argv),
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        env=environment(),
        timeout=timeout_s,
        check=False,
        **options,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class App:
    """Commands on one run, with the local cluster unless another is given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = Run(path)

    def __call__(self, verb: str, *argv: str) -> Outcome:
        given = {word.partition("=")[0] for word in argv}
        extra = [] if "run" in given else [f"run={self.path}"]
        if verb in ("submit", "resume") and "cluster" not in given:
            extra.append("cluster=local")
        return call(verb, *argv, *extra)

    def status(self) -> dict[str, Any]:
        """`status --json`, its stages by name."""
        outcome = self("status", "--json")
        assert outcome.code == 0, outcome
        value: dict[str, Any] = json.loads(outcome.out)
        return value | {"stages": {stage["name"]: stage for stage in value["stages"]}}

    def submissions(self) -> list[Submission]:
        return all_submissions(self.run)

    def captions(self) -> list[dict[str, Any]]:
        """All captions in the order of the plan, whether the phase is sealed or not."""
        import pyarrow.parquet as pq

        paths = sorted((self.path / "captions/write/data").rglob("*.parquet"))
        return [row for path in paths for row in pq.read_table(path).to_pylist()]


def same_set(run: Path) -> dict[str, str]:
    """Checksums of everything that two runs of one configuration must have in common."""
    paths = [path for path in run.glob("*/*/data/**/*") if path.is_file()] + list(run.glob("*/*/seal.json"))
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, every directory with None."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


_kept: dict[tuple[str, ...], tempfile.TemporaryDirectory[str]] = {}


def made_once(path: Path, key: Sequence[str], make: Callable[[App], None]) -> App:
    """Return a run at `path` that `make` makes the first time, and that is copied, links kept, for an equal key."""
    words = tuple(key)
    if words not in _kept:
        kept = tempfile.TemporaryDirectory(prefix="synthclip-tests-")
        make(App(Path(kept.name) / "run"))
        _kept[words] = kept
    subprocess.run(["cp", "-a", f"{_kept[words].name}/run", str(path)], check=True)
    return App(path)


def work_off(run: Run, submissions: Sequence[Submission]) -> list[Submission]:
    """In place of the supervisor: work through local submissions here and now, without processes."""
    from synthclip_hpc.sealing import seal_submission
    from synthclip_hpc.worker import run_attempt

    for one in submissions:
        update(one, state="submitted")
        job = f"local{one.number}"
        for element in range(one.num_elements):
            run_attempt(run, one, Attempt(job, element, 0, "here"), element, StopFlag())
        sealed = seal_submission(run, one, f"{job}_seal_0", job=job, index="seal", restart=0, node="here")
        update(one, state="ended")
        if not sealed:
            break  # what follows would wait for it
    return [load_submission(run, one.name) for one in submissions]
