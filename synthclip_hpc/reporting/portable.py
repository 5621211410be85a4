"""Values of the configuration as they may be shown to others: where files lay on one machine is nobody's business."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_START = re.compile(r"(?:^|(?<=[\s,;:=(\"']))(?:/(?![/\s])|~[\w.-]*/|\$\{?\w+\}?/)")
"""Of a path that says where something lies on this machine; the `//` of an address is none."""
_BETWEEN = ",;:'\"=\n"
"""What stands between the parts of a value. A space does not: folders of people have such names."""
_SLASHES_AT_END = re.compile(rf"/+(?=[{_BETWEEN}]|$)")
_FOLDERS = re.compile(rf"[^{_BETWEEN}]*/")


def portable(value: Any) -> Any:
    """Return a text with the last part of each path in it in the path's place; other values as they are.

    From the first absolute path on, whatever has a slash counts as one: it may be the rest of a name with a comma.
    """
    if not isinstance(value, str) or (start := _START.search(value)) is None:
        return value
    paths = _SLASHES_AT_END.sub("", value[start.start() :])
    return value[: start.start()] + _FOLDERS.sub("", paths)


def command_line(argv: Sequence[str]) -> str:
    """Return a recorded command as one would type it, but for `slurm.*`: the module in place of its file."""
    if not argv:
        return ""
    program = Path(argv[0])
    name = f"python -m synthclip_hpc.{program.stem}" if program.suffix == ".py" else program.name
    return " ".join([name, *(shlex.quote(str(portable(word))) for word in _without_cluster(argv[1:]))])


def _without_cluster(words: Sequence[str]) -> Iterator[str]:
    """Yield the words but for keys of `slurm` and their values, in all spellings."""
    left = iter(words)
    for word in left:
        if not word.removeprefix("--").startswith("slurm."):
            yield word
        elif "=" not in word:
            next(left, None)
