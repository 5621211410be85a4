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
_MODELS = ("captions.model", "render.diffusion.model", "eval.model")
"""Keys whose value may be a name of Hugging Face's, which has one slash and is no path."""
_NAMES = ("report.baseline", "baseline")
"""Keys whose value is a name that may have slashes, and never a path."""
_NAME_OF_HUB = re.compile(r"(?:hf-hub:)?\w[\w.-]*/[\w.-]+")


def portable(value: Any) -> Any:
    """Return a text with the last part of each path in it in the path's place; other values as they are.

    From the first absolute path on, whatever has a slash counts as one: it may be the rest of a name with a comma.
    """
    if not isinstance(value, str) or (start := _START.search(value)) is None:
        return value
    paths = _SLASHES_AT_END.sub("", value[start.start() :])
    return value[: start.start()] + _FOLDERS.sub("", paths)


def shown_value(key: str, value: Any) -> Any:
    """Return the value of a key with the last part of each path in its place, of relative paths too."""
    is_name = key in _NAMES or (key in _MODELS and isinstance(value, str) and _NAME_OF_HUB.fullmatch(value))
    if not isinstance(value, str) or is_name or "://" in value:
        return portable(value)
    return _FOLDERS.sub("", _SLASHES_AT_END.sub("", value))


def command_line(argv: Sequence[str]) -> str:
    """Return a recorded command as one would type it, but for `slurm.*`: the module in place of its file."""
    if not argv:
        return ""
    program = Path(argv[0])
    name = f"python -m synthclip_hpc.{program.stem}" if program.suffix == ".py" else program.name
    return " ".join([name, *(shlex.quote(word) for word in _shown_words(argv[1:]))])


def _shown_words(words: Sequence[str]) -> Iterator[str]:
    """Yield the words but for keys of `slurm` and their values, in all spellings; paths by their last part."""
    left = iter(words)
    waiting = ""  # the key of a flag before its value
    for word in left:
        name, equals, value = word.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if key.startswith("slurm."):
            if not equals:
                next(left, None)
        elif equals:
            yield f"{word.removesuffix(value)}{shown_value(key, value)}"
        else:
            yield str(shown_value(waiting, word) if waiting else portable(word))
        waiting = key if word.startswith("--") and not equals and not key.startswith("slurm.") else ""
