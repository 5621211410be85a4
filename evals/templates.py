"""Prompts around a class name: the data set's own, a file's, or those of ImageNet's two protocols."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evals.errors import EvalError, nearest
from evals.folder import TEMPLATES_FILE, DataFolder
from evals.texts import read_text

NAMED = ("folder", "openai80", "simple7")
MARK = "{c}"


def find_templates(text: str, folder: DataFolder) -> tuple[str, ...]:
    """Return templates, each with `{c}` where the class name goes.

    `text`: `folder` (zeroshot_classification_templates.txt); `openai80` (the 80 of CLIP's ImageNet evaluation, which
    CLIP_benchmark has too); `simple7` (the subset of seven that the paper's training log uses, so its Table 1); else
    a file with one a line. Raises EvalError for none at all, and for a line without a place for the class name.
    """
    if text == "folder":
        try:
            return folder_templates(folder)
        except EvalError as error:
            raise EvalError(f"templates=folder: {error}, or give templates=openai80, simple7 or a file") from None
    if text in NAMED:
        return named_templates(text)
    path = Path(text).expanduser()
    if not path.is_file():
        raise EvalError(
            f"templates={text}{nearest(text, NAMED)}: no such file; valid are {', '.join(NAMED)}, or a file"
        )
    told = f"templates={text}: {path}"
    return _checked(read_text(path, f"templates={text}").splitlines(), told)


def folder_templates(folder: DataFolder) -> tuple[str, ...]:
    """Return the templates that a data set brings. Raises EvalError naming its file of them and what is wrong."""
    return _checked(folder.templates, str(folder.path / TEMPLATES_FILE))


def _checked(lines: Iterable[str], told: str) -> tuple[str, ...]:
    found = tuple(line.strip().replace("{}", MARK) for line in lines)
    found = tuple(line for line in found if line)
    if wrong := [line for line in found if MARK not in line]:
        raise EvalError(f"{told}: {wrong[0]!r} has no {MARK} where the class name goes; mend the line")
    if not found:
        raise EvalError(f"{told} is missing or empty; write one template a line, with {MARK}")
    return found


def fill(template: str, name: str) -> str:
    """Return the prompt for a class name."""
    return template.replace(MARK, name)


def named_templates(name: str) -> tuple[str, ...]:
    """Return `openai80` or `simple7`, with {c}. Raises EvalError without open_clip, which has them."""
    try:
        import open_clip
    except ImportError as error:
        raise EvalError(f"templates={name}: open_clip has them; pip install 'synthclip-hpc[train]'") from error
    lists = {"openai80": open_clip.OPENAI_IMAGENET_TEMPLATES, "simple7": open_clip.SIMPLE_IMAGENET_TEMPLATES}
    return tuple(template(MARK) for template in lists[name])
