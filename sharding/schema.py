"""Reading our own JSON files: what is wrong with one is said by name, and a newer format is refused, not guessed at."""

from __future__ import annotations

import json
from typing import Any

SCHEMA = 1


def parse(data: bytes, what: str, error: type[ValueError]) -> dict[str, Any]:
    """The JSON object in `data`, of a schema this version knows; `what` names the file in messages.

    Raises `error` for torn or foreign content and for another schema.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise error(f"{what} is not JSON ({cause}): torn, or written by something else") from cause
    if not isinstance(value, dict):
        raise error(f"{what} must hold a JSON object, got {type(value).__name__}")
    schema = value.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise error(f"{what}: field 'schema' must be a whole number from 1 on, got {schema!r}")
    if schema > SCHEMA:
        raise error(
            f"{what} has schema {schema}, newer than {SCHEMA}, the newest this version reads; install a newer version"
        )
    return value


def text(value: dict[str, Any], key: str, what: str, error: type[ValueError]) -> str:
    """The text under `key`. Raises `error` if it is missing or something else."""
    found = value.get(key)
    if not isinstance(found, str):
        raise error(f"{what}: field {key!r} must be text, got {found!r}")
    return found


def count(value: dict[str, Any], key: str, what: str, error: type[ValueError]) -> int:
    """The whole number, 0 or more, under `key`. Raises `error` if it is missing or something else."""
    found = value.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise error(f"{what}: field {key!r} must be a whole number from 0 on, got {found!r}")
    return found


def mapping(value: dict[str, Any], key: str, what: str, error: type[ValueError]) -> dict[str, Any]:
    """The JSON object under `key`. Raises `error` if it is missing or something else."""
    found = value.get(key)
    if not isinstance(found, dict):
        raise error(f"{what}: field {key!r} must be an object, got {found!r}")
    return found
