"""Submissions: one `sbatch` (or one local supervisor) each, claimed before it starts and recorded after.

    submissions/00003-captions/   record.json   shards.json   submitit's files

The folder appears by one rename, with its record inside, so it is claimed whole or not at all. Of two commands that
claim at once one finds the name taken, looks again and sees the other's submission.
"""

from __future__ import annotations

import contextlib
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

from sharding.files import canonical_json, replace_file
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
        """`claimed` (being submitted), `submitted`, `refused`, `cancelled` or `withdrawn`."""
        return str(self.record["state"])

    @property
    def cluster(self) -> str:
        """`local` or `slurm`."""
        return str(self.record["cluster"])

    @property
    def plan_hash(self) -> str:
        return str(self.record["plan_hash"])

    @property
    def num_elements(self) -> int:
        return int(self.record["num_elements"])

    @property
    def job_names(self) -> list[str]:
        """Names of the array and of the seal job: how a job is found whose id was never recorded."""
        return [str(name) for name in self.record.get("job_names", [])]

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
    return [load_submission(run, name) for _, name in numbered]


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
    (draft / "record.json").write_bytes(canonical_json(whole))
    (draft / "shards.json").write_bytes(canonical_json({"schema": SCHEMA, "shards": list(shards)}))
    try:
        # Renaming a directory onto one that is not empty fails: this is the create-if-absent.
        draft.rename(final)
    except OSError:
        shutil.rmtree(draft)
        if not final.exists():
            raise
        return None
    return Submission(final, whole)


def update(submission: Submission, **changes: Any) -> Submission:
    """Replace the record with a changed one."""
    record = submission.record | changes
    replace_file(submission.path / "record.json", canonical_json(record))
    return Submission(submission.path, record)


def withdraw(submission: Submission) -> None:
    """Remove a claim that nothing was started for."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(submission.path)
