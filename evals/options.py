"""`key=value` and `--key value` words to a task's options: a dataclass whose fields are `Annotated[type, "help"]`.

Types are str, int, float, bool, Literal[...] of strings, and any of these with None (which `none` or nothing means).
A field without a default has to be given.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from evals.errors import EvalError, nearest

T = TypeVar("T")
_BOOLEANS = {"true": True, "false": False}


def split_words(words: Sequence[str], wanted: str = "") -> tuple[str, dict[str, str]]:
    """Return the one word that stands alone, and keys and values of `key=value`, `--key=value` and `--key value`.

    `wanted` tells what the lone word is, for a message; empty: there is to be none, and none is returned. Raises
    EvalError for a lone word too many or too few, a key without a value, and a key given twice.
    """
    alone: list[str] = []
    found: dict[str, str] = {}
    waiting = iter(words)
    for word in waiting:
        key, sign, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and not sign:
            value = next(waiting, "--")
            if value.startswith("--"):
                raise EvalError(f"{word}: needs a value; write {word} VALUE or {key}=VALUE")
        elif not sign:
            alone.append(word)
            continue
        if not key:
            raise EvalError(f"{word}: no key=value; write for example data=FOLDER")
        key = key.replace("-", "_")
        if key in found:
            raise EvalError(f"{key}={value}: given twice (the first was {found[key]}); give it once")
        found[key] = value
    if len(alone) > (1 if wanted else 0):
        raise EvalError(f"{alone[-1]}: no key=value; write for example data=FOLDER or --data FOLDER")
    if wanted and not alone:
        raise EvalError(f"{' '.join(words)}: {wanted} is missing; write it first")
    return (alone[0] if wanted else ""), found


def parse(kind: type[T], given: Mapping[str, str], task: str, command: str = "") -> T:
    """Return `kind` filled from texts; `command` is what has --help, where that is not `python -m evals TASK`.

    Raises EvalError for a key that is unknown or missing, or has a wrong value.
    """
    known = {key.name: key for key in _keys(kind)}
    for name in given:
        if name not in known:
            raise EvalError(
                f"{name}={given[name]}: {task} has no such key{nearest(name, known)}; its keys are {_list(known)}"
            )
    if missing := [name for name, key in known.items() if key.required and name not in given]:
        command = command or f"python -m evals {task}"
        raise EvalError(f"{missing[0]}=: {task} needs it: {known[missing[0]].help}. See {command} --help")
    return kind(**{name: known[name].read(value) for name, value in given.items()})


def describe(kind: type) -> str:
    """Return one line for each key: its name, its default, what it means."""
    keys = list(_keys(kind))
    told = [f"{key.name}={'…' if key.required else _shown(key.default)}" for key in keys]
    width = max((len(text) for text in told), default=0)
    return "\n".join(f"  {text:<{width}}  {key.help}" for text, key in zip(told, keys, strict=True))


class _Key:
    """One field of a dataclass, as the command line has it."""

    def __init__(self, name: str, hint: Any, default: Any) -> None:
        self.name, self.default, self.required = name, default, default is MISSING
        self.help = ""
        if get_origin(hint) is Annotated:
            hint, self.help = get_args(hint)[:2]
        self._optional = get_origin(hint) in (Union, types.UnionType)
        self._kind = next(one for one in get_args(hint) if one is not type(None)) if self._optional else hint

    def read(self, text: str) -> Any:
        """Return the value that `text` means. Raises EvalError."""
        if self._optional and text in ("", "none"):
            return None
        if get_origin(self._kind) is Literal:
            choices = get_args(self._kind)
            if text not in choices:
                raise EvalError(f"{self.name}={text}{nearest(text, choices)}: valid are {_list(choices)}")
            return text
        if self._kind is bool:
            if text not in _BOOLEANS:
                raise EvalError(f"{self.name}={text}: valid are true and false")
            return _BOOLEANS[text]
        try:
            return self._kind(text)
        except ValueError:
            raise EvalError(f"{self.name}={text}: no {_NAMES[self._kind]}") from None


_NAMES: Mapping[type, str] = {int: "whole number", float: "number"}


def _keys(kind: Any) -> Iterator[_Key]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        yield _Key(field.name, hints[field.name], field.default)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list(names: Any) -> str:
    return ", ".join(str(name) for name in names)
