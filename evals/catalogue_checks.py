"""Whether a file of the catalogue says what one has to say, in the words that are known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from evals.errors import EvalError, nearest
from evals.folder import SPLITS
from evals.templates import MARK, NAMED

METRICS = {"classification": ("acc1", "mean_per_class_recall"), "retrieval": ("recall@5",)}
"""By kind."""
CLASS_FOLDERS = ("name", "letter", "wnid", "number", "objectnet")
_NEEDED = ("title", "kind", "metric", "licence", "homepage", "reference", "splits")


def check_entry(entry: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise EvalError naming the key that is missing, not one of `known`, or has a value that cannot be."""
    for key in entry:
        if key not in known:
            raise EvalError(f"unknown key {key!r}{nearest(key, known)}; valid are {', '.join(sorted(known))}")
    if missing := [key for key in _NEEDED if key not in entry]:
        raise EvalError(f"no {', '.join(missing)}; a data set needs {', '.join(_NEEDED)}")
    for key, value in entry.items():
        right, wanted = _FORMS.get(key, (_is_text, "a text"))
        if not right(value):
            raise EvalError(f"{key} = {value!r}: must be {wanted}")
    _check_together(entry)


def check_collections(groups: Mapping[str, Any], sets: Collection[str], needed: Collection[str]) -> None:
    """Raise EvalError for a collection that is missing, or that is no list of `sets`."""
    if missing := [name for name in needed if name not in groups]:
        raise EvalError(f"no {', '.join(missing)}; it has to be there")
    for name, members in groups.items():
        if not _are_texts(members):
            raise EvalError(f"{name} = {members!r}: must be a list of data sets")
        if strange := [one for one in members if one not in sets]:
            raise EvalError(f"{name}: {strange[0]!r}{nearest(strange[0], sets)} is no data set of the catalogue")


def _check_together(entry: Mapping[str, Any]) -> None:
    kind, metric = entry["kind"], entry["metric"]
    if metric not in METRICS[kind]:
        raise EvalError(
            f"metric = {metric!r}{nearest(metric, METRICS[kind])}: valid for {kind} are {', '.join(METRICS[kind])}"
        )
    if (kind == "classification") != ("classes" in entry):
        raise EvalError(
            "no classes; a classification set has a number of them"
            if kind == "classification"
            else "classes: a retrieval set has none; leave them out"
        )
    for key in ("captions", "lists"):
        if strange := [split for split in entry.get(key, ()) if split not in entry["splits"]]:
            raise EvalError(f"{key}.{strange[0]}: there is no such split; splits has {', '.join(entry['splits'])}")
    if entry.get("names") and len(entry["names"]) != entry.get("classes"):
        raise EvalError(f"names: {len(entry['names'])} of them for {entry.get('classes')} classes")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_templates(value: Any) -> bool:
    return value in NAMED[1:] if isinstance(value, str) else _are_texts(value) and all(MARK in one for one in value)


def _is_table(value: Any, right: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(right, value.values()))


def _are_splits(value: Any) -> bool:
    def right(count: Any) -> bool:
        return _is_count(count) or (isinstance(count, list) and bool(count) and all(map(_is_count, count)))

    return _is_table(value, right) and "test" in value and all(split in SPLITS for split in value)


_TEMPLATES = f"{' or '.join(NAMED[1:])}, or a list of prompts, each with {MARK} where the class name goes"
_FORMS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "kind": (lambda value: value in tuple(METRICS), " or ".join(METRICS)),
    "splits": (_are_splits, f"[splits] of {', '.join(SPLITS)}, test among them, each a number of images or several"),
    "captions": (lambda value: _is_table(value, _is_count), "a number of captions for each split"),
    "classes": (_is_count, "a whole number from 1 on"),
    "train_per_class": (_is_count, "a whole number from 1 on"),
    "templates": (_are_templates, _TEMPLATES),
    "folder_templates": (_are_templates, _TEMPLATES),
    "class_folders": (lambda value: value in CLASS_FOLDERS, f"one of {', '.join(CLASS_FOLDERS)}"),
    "also_called": (_are_texts, "a list of names"),
    "names": (_are_texts, "a list of class names"),
    "rename": (lambda value: _is_table(value, _is_text), "names of a source's classes, each with that of prompts"),
    "lists": (lambda value: _is_table(value, _is_text), "the name of a file for each split"),
    "torchvision": (lambda value: isinstance(value, dict) and {"class", "has"} <= set(value), "class, has and more"),
    "hub": (lambda value: isinstance(value, dict) and "id" in value, "id, and label where there are several"),
}
"""Key -> whether a value is right, and what it has to be; other keys hold texts."""
