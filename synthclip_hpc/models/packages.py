"""Which packages a python has: this one, or the one that workers are started with."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Sequence
from typing import Any

_ASK_TIMEOUT_S = 60
_QUESTION = """
import importlib.util, json, sys
missing = []
for name in sys.argv[1:]:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None:
        missing.append(name)
print(json.dumps(missing))
"""


def missing_here(names: Sequence[str]) -> list[str]:
    """Return the modules that this python does not find."""
    return [name for name in names if not is_found(name)]


def is_found(name: str) -> bool:
    """Tell whether this python finds a module, without importing more than the packages around it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # no such package around it; no name that a module can have
        return False


def missing_in(python: Sequence[str], names: Sequence[str]) -> list[str]:
    """Ask another python, without importing more than the packages around a module; none where it cannot be asked."""
    missing: list[str] = ask(python, _QUESTION, names) or []  # it may exist on the nodes alone; the worker will say
    return missing


def ask(python: Sequence[str], question: str, arguments: Sequence[str]) -> Any:
    """Return what a program prints last, as JSON, when another python runs it; None when that fails."""
    try:
        done = subprocess.run(
            [*python, "-c", question, *arguments],
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        return json.loads(done.stdout.strip().rpartition("\n")[2])
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
