"""The run directory: the only place that knows the file names above a phase.

run.toml  provenance.json
submissions/00003-captions/   record.json, shards.json, submitit's files
logs/captions/                one log per element or local worker
captions/write/               a PhaseDirectory (sharding.directory knows the names inside)
"""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharding.canonical import canonical_json
from sharding.directory import PhaseDirectory
from sharding.files import create_file, replace_file
from synthclip_hpc.config import RunConfig
from synthclip_hpc.config_files import apply_table, to_table
from synthclip_hpc.errors import UserError
from synthclip_hpc.paths import path_of

SCHEMA = 1


@dataclass(frozen=True)
class Run:
    """One run: one directory, one frozen configuration, one result."""

    path: Path

    @property
    def config_path(self) -> Path:
        return self.path / "run.toml"

    @property
    def provenance_path(self) -> Path:
        return self.path / "provenance.json"

    @property
    def submissions_path(self) -> Path:
        return self.path / "submissions"

    def phase(self, stage: str, phase: str) -> PhaseDirectory:
        """Return the directory of one phase of a stage."""
        return PhaseDirectory(self.path / stage / phase)

    def has_plans(self, stage: str) -> bool:
        """Tell whether any phase of a stage has a plan."""
        return any(PhaseDirectory(phase).plan_path.exists() for phase in (self.path / stage).glob("*/"))

    def logs(self, stage: str) -> Path:
        """Return the folder of a stage's logs."""
        return self.path / "logs" / stage

    def exists(self) -> bool:
        return self.config_path.exists()

    def check_place(self) -> None:
        """Raise UserError when there can be no run directory at this path: a file is in the way, or it is no text."""
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"run={str(self.path)!a}: not UTF-8; a run's files name its path: use another") from error
        nearest_there = next(path for path in (self.path, *self.path.parents) if path.exists())
        if not nearest_there.is_dir():
            raise UserError(f"run={self.path}: {nearest_there} is a file, not a directory; name another place")

    def create(self, config: RunConfig, provenance: dict[str, Any]) -> None:
        """Make the directory (private to the user) and freeze the configuration; an existing run is left alone."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._refuse_foreign()
            if not self.exists():
                self.path.chmod(0o700)  # an empty folder that was there before is made private as well
            self.submissions_path.mkdir(exist_ok=True)
            identity = {"schema": SCHEMA, "run_id": secrets.token_hex(4)}
            create_file(self.provenance_path, canonical_json(identity | {"created": provenance}))
            create_file(self.config_path, _toml(config))
        except (NotADirectoryError, FileExistsError) as error:
            raise UserError(f"run={self.path}: is a file, not a directory; name another place") from error
        except OSError as error:
            raise UserError(f"run={self.path}: cannot be written ({error.strerror}); name a writable place") from error

    def _refuse_foreign(self) -> None:
        """Raise UserError for a folder with something else in it: a run must not be strewn over someone's files."""
        if self.exists():
            return
        # What a `create` that was killed half-way, or a fresh file system, may have left.
        ours = ("submissions", "provenance.json", "lost+found")
        foreign = sorted(entry.name for entry in self.path.iterdir() if entry.name not in ours and entry.name[0] != ".")
        # Looked at again: of two commands that create the run at once the other may have gone on to its first stage.
        if foreign and not self.exists():
            raise UserError(
                f"run={self.path}: this folder holds other things ({', '.join(foreign[:3])}) and no run.toml; "
                "name a new or empty folder"
            )

    def update_config(self, config: RunConfig) -> None:
        """Replace the frozen configuration; the caller has checked that no started phase drifts."""
        replace_file(self.config_path, _toml(config))

    def load_config(self) -> RunConfig:
        """Read the frozen configuration.

        Raises UserError when there is no run, or one of a newer schema, or a damaged run.toml.
        """
        try:
            table = tomllib.loads(self.config_path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(
                f"run={self.path}: no run here (no run.toml); start one with: "
                f"python -m synthclip_hpc.submit stage=captions preset=laptop run={self.path}"
            ) from error
        except NotADirectoryError as error:
            raise UserError(f"run={self.path}: is not a directory") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{self.config_path}: damaged: {error}; restore it from a copy of the run") from error
        schema = table.pop("schema", None)
        if schema != SCHEMA:
            raise UserError(
                f"{self.config_path}: schema {schema}, this version reads {SCHEMA}; "
                "use the synthclip-hpc that made the run"
            )
        return apply_table(RunConfig(), table, str(self.config_path))

    def run_id(self) -> str:
        """Return the eight hex digits that make this run's job names unique."""
        try:
            value = json.loads(self.provenance_path.read_text(encoding="utf-8"))["run_id"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{self.provenance_path}: missing or damaged ({error})") from error
        return str(value)

    def job_name(self, stage: str, phase: str) -> str:
        """Return the job name of a phase: unique per run and phase, safe in every shell."""
        return f"synthclip-{self.run_id()}-{stage}-{phase}"


def resolve_run(given: str | None, environ: dict[str, str] | os._Environ[str] = os.environ) -> Run:
    """Find the run: the argument, else $SYNTHCLIP_RUN, else the run directory one stands in, else runs/default."""
    if given:
        return Run(path_of("run", given).absolute())
    if environ.get("SYNTHCLIP_RUN"):
        return Run(path_of("SYNTHCLIP_RUN", environ["SYNTHCLIP_RUN"]).absolute())
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "run.toml").exists() and (folder / "provenance.json").exists():
            return Run(folder)
    return Run(here / "runs" / "default")


def _toml(config: RunConfig) -> bytes:
    import tomli_w

    return tomli_w.dumps({"schema": SCHEMA} | to_table(config)).encode()
