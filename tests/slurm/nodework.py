"""A function that tests submit: a node finds it by name."""

from __future__ import annotations


def work(folder: str, number: int) -> int:
    return len(folder) + number
