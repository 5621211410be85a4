"""Values of the configuration as they may be shown to others: where files lay on one machine is nobody's business."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PATH = re.compile(r"(?<![\w.:/-])(?:~|\$\w+|/[^\s/:,'\"=]+)(?:/[^\s/:,'\"]+)+/?")


def portable(value: Any) -> Any:
    """Return a text with the last part of each absolute path in it in the path's place; other values as they are."""
    if not isinstance(value, str):
        return value
    return _PATH.sub(lambda found: Path(found[0]).name, value)


def command_line(argv: Sequence[str]) -> str:
    """Return a recorded command as one would type it: the module in place of its file."""
    if not argv:
        return ""
    program = Path(argv[0])
    name = f"python -m synthclip_hpc.{program.stem}" if program.suffix == ".py" else program.name
    return " ".join([name, *(str(portable(word)) for word in argv[1:])])
