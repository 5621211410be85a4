"""Submissions: one `sbatch` (or one local supervisor) each, claimed before it starts and recorded after.

    submissions/00003-captions/   record.json   shards.json   submitit's files

The folder appears by one rename, with its record inside, so it is claimed whole or not at all. Of two commands that
claim at once one finds the name taken, looks again and sees the other's submission.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json
from sharding.files import create_file, replace_file
from synthclip_hpc.config import RunConfig
from synthclip_hpc.config_files import apply_table
from synthclip_hpc.errors import UserError
from synthclip_hpc.run import SCHEMA, Run

_NAME = re.compile(r"(\d{5,})-([a-z]+)")
_REQUIRED = ("created", "state", "cluster", "stage", "phase", "plan_hash", "num_elements", "config")


@dataclass(frozen=True)
class Submission:
    """One recorded submission of one phase."""

    path: Path
    record: dict[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def number(self) -> int:
        return int(self.name.split("-")[0])

    @property
    def stage(self) -> str:
        return str(self.record["stage"])

    @property
    def phase(self) -> str:
        return str(self.record["phase"])

    @property
    def state(self) -> str:
        """`claimed` (being submitted), `submitted`, `ended` (seen to be over) or `cancelled`."""
        return "cancelled" if self.is_cancelled() else str(self.record["state"])

    def is_cancelled(self) -> bool:
        """Tell whether `cancel` was called; asked of the disk each time, because whoever submits must hear of it."""
        return (self.path / "cancelled").exists()

    @property
    def cluster(self) -> str:
        """`local` or `slurm`."""
        return str(self.record["cluster"])

    @property
    def environment(self) -> dict[str, str | None]:
        """What Slurm's tools need in their environment to talk to this submission's cluster (None = unset)."""
        found: dict[str, str | None] = self.record.get("environment", {})
        return found

    @property
    def plan_hash(self) -> str:
        return str(self.record["plan_hash"])

    @property
    def num_elements(self) -> int:
        return int(self.record["num_elements"])

    @property
    def job_names(self) -> list[str]:
        """Names of the array and of the seal job, this submission's alone: a job is found by them whatever its id."""
        base = self.record.get("job_name")
        return [f"{base}-{self.number}", f"{base}-{self.number}-seal"] if base else []

    @property
    def job_ids(self) -> list[str]:
        """Ids of the arrays and of the seal job, as far as they were recorded."""
        return [*map(str, self.record.get("array_jobs", [])), *map(str, self.record.get("seal_jobs", []))]

    @property
    def config(self) -> RunConfig:
        """The configuration this submission works with: execution keys as they were when it was made."""
        return apply_table(RunConfig(), self.record["config"], f"{self.path}/record.json")

    def shards(self) -> list[int]:
        """Return the missing shards this submission covers."""
        shards: list[int] = json.loads((self.path / "shards.json").read_text(encoding="utf-8"))["shards"]
        return shards


def all_submissions(run: Run) -> list[Submission]:
    """Return every submission of a run in order of number."""
    try:
        names = os.listdir(run.submissions_path)
    except FileNotFoundError:
        return []
    numbered = sorted((int(match[1]), name) for name in names if (match := _NAME.fullmatch(name)))
    found = []
    for _, name in numbered:
        try:
            found.append(load_submission(run, name))
        except UserError:
            if (run.submissions_path / name).exists():
                raise
            # Withdrawn by its own command between the listing and the look.
    return found


def load_submission(run: Run, name: str) -> Submission:
    """Read one submission's record. Raises UserError when it is missing, damaged or of a newer schema."""
    path = run.submissions_path / name
    try:
        record = json.loads((path / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}/record.json: cannot be read ({error}); restore it, or remove {path} when its jobs ended"
        ) from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema is not None and schema != SCHEMA:
        raise UserError(f"{path}/record.json: schema {schema}, this version reads {SCHEMA}; use a newer synthclip-hpc")
    lacking = [key for key in ("schema", *_REQUIRED) if not isinstance(record, dict) or key not in record]
    if lacking:
        raise UserError(
            f"{path}/record.json: damaged, it lacks {', '.join(lacking)}; "
            f"restore it, or remove {path} when its jobs ended"
        )
    return Submission(path, record)


def claim(run: Run, stage: str, shards: Sequence[int], record: dict[str, Any]) -> Submission | None:
    """Claim the next number for a submission of `stage`; None when another command was faster."""
    taken = [int(match[1]) for name in os.listdir(run.submissions_path) if (match := _NAME.fullmatch(name))]
    name = f"{max(taken, default=0) + 1:05d}-{stage}"
    final = run.submissions_path / name
    draft = run.submissions_path / f".{name}.{secrets.token_hex(8)}"
    draft.mkdir()
    whole = {"schema": SCHEMA, "created": time.time(), "state": "claimed", **record}
    replace_file(draft / "record.json", canonical_json(whole))
    replace_file(draft / "shards.json", canonical_json({"schema": SCHEMA, "shards": list(shards)}))
    try:
        # Renaming a directory onto one that is not empty fails: this is the create-if-absent.
        draft.rename(final)
    except OSError as error:
        shutil.rmtree(draft)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return None
    return Submission(final, whole)


def update(submission: Submission, **changes: Any) -> Submission:
    """Change the record; what others have changed meanwhile stays."""
    current = json.loads((submission.path / "record.json").read_text(encoding="utf-8"))
    record = current | changes
    replace_file(submission.path / "record.json", canonical_json(record))
    return Submission(submission.path, record)


def mark_cancelled(submission: Submission) -> None:
    """Leave word that the submission is cancelled; whoever is still submitting it takes back what it has started."""
    create_file(submission.path / "cancelled", b"")


def unmark_cancelled(submission: Submission) -> None:
    """Take back the word that a submission is cancelled: its jobs could not be."""
    (submission.path / "cancelled").unlink(missing_ok=True)


def withdraw(submission: Submission) -> None:
    """Remove a claim that nothing was started for: out of sight by one rename, so that nobody meets half of it."""
    hidden = submission.path.with_name(f".{submission.name}.{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):
        submission.path.rename(hidden)
        shutil.rmtree(hidden)
