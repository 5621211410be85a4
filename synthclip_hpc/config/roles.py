"""The two roles of a configuration field."""

from __future__ import annotations

from dataclasses import field
from typing import TypeVar

T = TypeVar("T")


def identity(default: T) -> T:
    """Mark a field that can change an output."""
    value: T = field(default=default, metadata={"role": "identity"})
    return value


def execution(default: T) -> T:
    """Mark a field that provably cannot change an output."""
    value: T = field(default=default, metadata={"role": "execution"})
    return value
