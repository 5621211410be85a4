"""Cluster profiles: TOML files that say, stage by stage, what the jobs on a cluster ask of Slurm.

    [default]                # every stage
    partition = "gpu"
    time_min = 240
    [stage.render]           # only this stage; wins over [default]
    gpus_per_node = 1
    [stage.seal]             # the small jobs that close a phase
    time_min = 5

Each key is a field of `Resources`. An empty string takes a key of `[default]` back.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .resources import ProfileError, Resources, checked, resource_types

__all__ = ["Profile", "ProfileError", "Resources", "built_in_profiles", "load_profile"]

_BUILT_IN = Path(__file__).with_suffix("")
_SCHEMA = 1


@dataclass(frozen=True)
class Profile:
    """A cluster profile: checked keys of `[default]` and of each `[stage.NAME]`."""

    name: str
    default: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def for_stage(self, stage: str, overrides: Mapping[str, Any] | None = None) -> Resources:
        """The resources of a stage's jobs: `[default]`, then `[stage.NAME]`, then `overrides` (None there = not given).

        Raises ProfileError for an unknown key or a value of the wrong type.
        """
        given = {key: value for key, value in (overrides or {}).items() if value is not None}
        for key, value in given.items():
            _check_key(key, f"slurm.{key}")
            checked(key, value, f"slurm.{key}")
        return Resources(**{**self.default, **self.stages.get(stage, {}), **given})


def built_in_profiles() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted(path.stem for path in _BUILT_IN.glob("*.toml"))


def load_profile(name_or_path: str, stages: Collection[str] | None = None) -> Profile:
    """Read a profile: a built-in name, or the path of a TOML file (anything with a `/` or ending in `.toml`).

    `stages` are the names that `[stage.NAME]` may have; None accepts any. Raises ProfileError, which names the nearest
    valid table or key, when the file is missing, is no TOML, or holds anything that is not understood.
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        path = Path(name_or_path).expanduser()
    else:
        path = _BUILT_IN / f"{name_or_path}.toml"
        if name_or_path not in built_in_profiles():
            names = built_in_profiles()
            raise ProfileError(
                f"slurm.profile={name_or_path!r} is not a built-in profile{_nearest(name_or_path, names)}; "
                f"built in: {', '.join(names)}; or give the path of a TOML file"
            )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"slurm.profile={name_or_path!r}: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"slurm.profile={name_or_path!r}: {path} is not valid TOML: {error}") from error
    return _parse(tables, path, stages)


def _parse(tables: Mapping[str, Any], path: Path, stages: Collection[str] | None) -> Profile:
    for key in tables:
        if key in resource_types():
            raise ProfileError(f"{path}: {key!r} stands outside of all tables; put it under [default] or [stage.NAME]")
    _known(tables, ("default", "stage", "schema"), f"{path}: ", "table")
    schema = tables.get("schema", _SCHEMA)
    if type(schema) is not int or schema != _SCHEMA:
        raise ProfileError(
            f"{path}: schema is {schema!r}, this version reads {_SCHEMA}; update the software or the profile"
        )
    default = _table(tables.get("default", {}), f"{path}: [default]")
    stage_tables = tables.get("stage", {})
    if not isinstance(stage_tables, dict):
        raise ProfileError(f"{path}: stage must be tables such as [stage.render], got {stage_tables!r}")
    if stages is not None:
        _known(stage_tables, stages, f"{path}: ", "table", prefix="stage.")
    by_stage = {name: _table(table, f"{path}: [stage.{name}]") for name, table in stage_tables.items()}
    return Profile(str(path), default, by_stage)


def _table(table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ProfileError(f"{where} must be a table of keys, got {table!r}")
    for key in table:
        _check_key(key, f"{where} {key}")
    return {key: checked(key, value, f"{where} {key}") for key, value in table.items()}


def _check_key(key: str, where: str) -> None:
    if key not in resource_types():
        raise ProfileError(
            f"{where}: unknown key {key!r}{_nearest(key, resource_types())}; known: {', '.join(resource_types())}"
        )


def _known(given: Iterable[str], known: Collection[str], where: str, kind: str, prefix: str = "") -> None:
    for name in given:
        if name not in known:
            near = _nearest(name, known, prefix)
            valid = ", ".join(f"{prefix}{item}" for item in known)
            raise ProfileError(f"{where}unknown {kind} {prefix + name!r}{near}; known: {valid}")


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {prefix + close[0]!r}?" if close else ""
