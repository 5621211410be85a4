"""A snapshot out of JSON: the way back from `dataclasses.asdict`."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import types
import typing
from typing import Any


def decode(kind: Any, value: Any) -> Any:
    """Return `value`, as JSON has it, as what `kind` is: a dataclass, a named tuple, a tuple, a mapping or plain.

    Keys that a dataclass does not know are passed over, those that are missing take their defaults.
    """
    if value is None:
        return None
    origin, arms = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = [arm for arm in arms if arm is not type(None)]
        return decode(kinds[0], value) if len(kinds) == 1 else value
    if origin is tuple:
        of_each = arms[:1] * len(value) if arms[1:] == (Ellipsis,) else arms
        return tuple(decode(arm, one) for arm, one in zip(of_each, value, strict=True))
    if origin in (dict, collections.abc.Mapping):
        return {key: decode(arms[1], one) for key, one in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: decode(hints[name], one) for name, one in value.items() if name in hints})
    if isinstance(kind, type) and issubclass(kind, tuple):
        return kind(*value)
    return value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
