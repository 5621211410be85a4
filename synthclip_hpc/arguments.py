"""The command line's spellings, normalised for tyro, which stays the only parser.

`key=value`, `--key value` and `--key=value` mean the same; dots address nested fields; `-` and `_` are the same. A
boolean may be written `x=true|false`, `--x`, `--no-x`, `--x=true` or `--x true`; anything else is refused. A bare
`k=v` is rewritten only when k is a known field or no flag waits for its value, so that `--note a=b` keeps its `a=b`.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from synthclip_hpc.errors import UserError, nearest

C = TypeVar("C")


def field_types(cls: type, prefix: str = "") -> dict[str, Any]:
    """Return the type of every leaf field of a dataclass by its dotted key."""
    types: dict[str, Any] = {}
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            types |= field_types(typing.cast(type, hint), f"{prefix}{item.name}.")
        else:
            types[f"{prefix}{item.name}"] = hint
    return types


def normalise(argv: list[str], types: Mapping[str, Any]) -> list[str]:
    """Rewrite `argv` into the flags that tyro takes; `types` gives the known fields.

    Raises UserError for an unknown key, a malformed boolean, or a stray word.
    """
    result: list[str] = []
    waiting: str | None = None  # a flag that has not got its value yet
    words = list(argv)
    while words:
        word = words.pop(0)
        if not _is_text(word):
            raise UserError(f"{word!a}: not UTF-8; the run's records could not hold it")
        if word in ("-h", "--help"):
            result.append("--help")
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        is_flag = word.startswith("--")
        if not is_flag and (not equals or (waiting and key not in types)):
            if waiting is None and key in types:
                raise UserError(f"{word!r}: needs a value; write {word}=VALUE. See --help")
            if waiting is None:
                raise UserError(f"{word!r}: not understood; write key=value{_meant(word, types)}. See --help")
            result.append(word)
            waiting = waiting if _takes_many(types[waiting]) else None
            continue
        if key not in types:
            negated = key.removeprefix("no_")
            if is_flag and key != negated and types.get(negated) is bool and not equals:
                result.append(_flag(negated, False))
                continue
            raise UserError(f"unknown key {name!r}{nearest(key, types)}. See --help for all keys")
        waiting = None
        if types[key] is bool:
            if not equals and words and words[0] in ("true", "false"):
                equals, value = "=", words.pop(0)
            if equals and value not in ("true", "false"):
                raise UserError(f"{name}={value}: wanted true or false")
            result.append(_flag(key, not equals or value == "true"))
        elif equals:
            result += [_option(key), *_split_list(value)] if _takes_many(types[key]) else [f"{_option(key)}={value}"]
        else:
            result.append(_option(key))
            waiting = key
    return result


def value_of(key: str, tokens: list[str]) -> str | None:
    """Return the last value given for `key` in normalised `tokens` (before tyro runs), or None."""
    found = None
    for position, token in enumerate(tokens):
        if token == _option(key) and position + 1 < len(tokens):
            found = tokens[position + 1]
        elif token.startswith(f"{_option(key)}="):
            found = token.partition("=")[2]
    return found


def parse(cls: type[C], tokens: list[str], default: C, prog: str, description: str) -> C:
    """Let tyro parse normalised `tokens` over `default`; it exits with 2 and a message on a bad value."""
    import tyro

    return _unguarded(
        tyro.cli(
            cls,
            args=tokens,
            default=default,
            prog=prog,
            description=description,
        )
    )


def _meant(word: str, types: Mapping[str, Any]) -> str:
    from synthclip_hpc.stage_order import STAGES

    if "stage" in types and set(word.split(",")) <= {*STAGES, "all"}:
        return f" (did you mean 'stage={word}'?)"
    return nearest(word.replace("-", "_"), types)


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _flag(key: str, on: bool) -> str:
    *parents, leaf = key.split(".")
    return "--" + ".".join([*parents, leaf if on else f"no-{leaf}"]).replace("_", "-")


def _takes_many(hint: Any) -> bool:
    return any(typing.get_origin(option) is tuple for option in (hint, *typing.get_args(hint)))


def _split_list(value: str) -> list[str]:
    """Split `[a, b]` or `["a, b", "c"]` (as in TOML); anything else is a list of one."""
    if not (value.startswith("[") and value.endswith("]")):
        return [_guarded(value)]
    try:
        words = tomllib.loads(f"list = {value}")["list"]
    except tomllib.TOMLDecodeError:
        words = None
    if words is None or not all(isinstance(word, str) for word in words):
        words = [one.strip().strip("\"'") for one in value[1:-1].split(",") if one.strip()]
    return [_guarded(word) for word in words]


# Within a list tyro takes a word that begins with `-` for the next option. No argument of a process holds a NUL, so
# that one in front marks such words until they are parsed.
_GUARD = "\0"


def _guarded(word: str) -> str:
    return _GUARD + word if word.startswith("-") else word


def _unguarded(parsed: C) -> C:
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(parsed):  # type: ignore[arg-type]
        value = getattr(parsed, item.name)
        if dataclasses.is_dataclass(value):
            changes[item.name] = _unguarded(value)
        elif isinstance(value, tuple):
            changes[item.name] = tuple(word.removeprefix(_GUARD) for word in value)
    return dataclasses.replace(parsed, **changes)  # type: ignore[type-var]
