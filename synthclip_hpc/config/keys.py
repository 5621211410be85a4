"""Configuration values by their dotted keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def flatten(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yield (dotted key, value, field) for every leaf of a nested dataclass, in the order of definition."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from flatten(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value, item


def get(config: Any, key: str) -> Any:
    """Return the value at a dotted key of a nested dataclass."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def with_values(config: T, values: dict[str, Any]) -> T:
    """Return `config` with the values of dotted keys replaced; the keys must exist."""
    nested: dict[str, dict[str, Any]] = {}
    plain: dict[str, Any] = {}
    for key, value in values.items():
        head, _, rest = key.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            plain[head] = value
    for head, inner in nested.items():
        plain[head] = with_values(getattr(config, head), inner)
    return dataclasses.replace(config, **plain)  # type: ignore[type-var]
