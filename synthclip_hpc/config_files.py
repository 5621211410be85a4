"""Configuration from and to TOML: presets, `config=FILE`, a run's frozen `run.toml`.

An unknown key names the nearest known one; a value of the wrong type is refused with the type wanted, because tyro
would let a wrong default through.
"""

from __future__ import annotations

import functools
import tomllib
import typing
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from synthclip_hpc.config import RunConfig, flatten, with_values
from synthclip_hpc.errors import UserError, nearest

C = TypeVar("C", bound=RunConfig)


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the package."""
    folder = resources.files("synthclip_hpc") / "presets"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def apply_preset(config: C, name: str) -> C:
    """Lay a preset over `config`; an unknown name is refused with the nearest one."""
    if name not in preset_names():
        raise UserError(
            f"preset={name}: no such preset{nearest(name, preset_names())}. Valid: {', '.join(preset_names())}"
        )
    text = (resources.files("synthclip_hpc") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return apply_table(config, tomllib.loads(text), f"preset {name}")


def apply_file(config: C, path: Path) -> C:
    """Lay a TOML file over `config`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"config={path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"config={path}: not valid TOML in UTF-8: {error}") from error
    return apply_table(config, table, str(path))


def apply_table(config: C, table: dict[str, Any], source: str) -> C:
    """Lay a nested table over `config`, checking every key and type; `source` names it in messages."""
    known = {key: (value, item) for key, value, item in flatten(RunConfig())}
    values: dict[str, Any] = {}
    for key, value in _leaves(table):
        if key not in known:
            raise UserError(f"{source}: unknown key {key!r}{nearest(key, known)}")
        values[key] = _typed(key, value, field_type(key), source)
    return with_values(config, values)


def to_table(config: RunConfig) -> dict[str, Any]:
    """Return the nested table of `config`; keys that are None are left out (TOML has no null)."""
    table: dict[str, Any] = {}
    for key, value, _ in flatten(config):
        if value is None:
            continue
        *parents, leaf = key.split(".")
        inner = table
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[leaf] = list(value) if isinstance(value, tuple) else value
    return table


def field_type(key: str, cls: Any = RunConfig) -> Any:
    """Return the annotated type of the field at a dotted key."""
    for name in key.split("."):
        cls = _type_hints(cls)[name]
    return cls


_type_hints = functools.cache(typing.get_type_hints)


def _leaves(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in table.items():
        name = f"{prefix}{key.replace('-', '_')}"
        leaves += _leaves(value, f"{name}.") if isinstance(value, dict) else [(name, value)]
    return leaves


def _typed(key: str, value: Any, wanted: Any, source: str) -> Any:
    options = typing.get_args(wanted) if typing.get_origin(wanted) is typing.Union else (wanted,)
    for option in options:
        if (
            typing.get_origin(option) is tuple
            and isinstance(value, list)
            and all(isinstance(one, str) for one in value)
        ):
            return tuple(value)
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if option in (int, str, bool) and type(value) is option:
            return value
    names = " or ".join(getattr(option, "__name__", str(option)) for option in options if option is not type(None))
    raise UserError(f"{source}: {key} = {value!r} is of type {type(value).__name__}; wanted: {names}")
