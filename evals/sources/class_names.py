"""A source's class names to those that prompts are filled with."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from evals.folder import shorten
from evals.texts import plain_name

_ALL_OF_IMAGENET = "imagenet_synsets.txt"


def prompt_names(info: DataSetInfo, classes: Sequence[str]) -> list[str]:
    """Return the names of a source's classes, which stay in their order.

    ImageNet's are those that CLIP was measured with, from open_clip, found by WordNet id or class number; other names
    are the source's, spelled with spaces, but for those that the catalogue renames. Raises EvalError for a class that
    is none of the data set's.
    """
    if info.class_folders in ("wnid", "number"):
        return _of_imagenet(info, classes)
    if info.names:
        return _fixed(info, classes)
    if info.class_folders == "letter":
        classes = [name.partition("/")[2] if name[1:2] == "/" else name for name in classes]
    if info.class_folders == "objectnet":
        return [name.lower() for name in classes]
    return [info.rename.get(name, name.replace("_", " ").replace("/", " ")) for name in classes]


def _of_imagenet(info: DataSetInfo, classes: Sequence[str]) -> list[str]:
    try:
        from open_clip import IMAGENET_CLASSNAMES
    except ImportError as error:
        raise EvalError(
            f"{info.name}: open_clip has the names of its classes and is not installed; "
            "pip install 'synthclip-hpc[train]'"
        ) from error
    if all(name.isascii() and name.isdigit() for name in classes):
        numbers = [int(name) for name in classes]
        if bad := [number for number in numbers if number >= len(IMAGENET_CLASSNAMES)]:
            raise EvalError(f"{info.name}: the source has a class {bad[0]}, but ImageNet's are 0 to 999")
        return [IMAGENET_CLASSNAMES[number] for number in numbers]
    place = {wnid: number for number, wnid in enumerate(_wordnet_ids(_ALL_OF_IMAGENET))}
    if strange := [name for name in classes if name not in place]:
        raise EvalError(
            f"{info.name}: {len(strange)} class folders are no WordNet ids of ImageNet's 1,000 classes: "
            f"{shorten(strange)}; give the data set's own folder, whose class folders are called as n01440764"
        )
    if info.known_classes and (wrong := sorted(set(classes) - set(_wordnet_ids(info.known_classes)))):
        raise EvalError(f"{info.name}: {len(wrong)} class folders are none of its classes: {shorten(wrong)}")
    return [IMAGENET_CLASSNAMES[place[name]] for name in classes]


def _wordnet_ids(table: str) -> list[str]:
    """Return WordNet ids of a list that timm has, without importing timm, which takes seconds."""
    return resources.files("timm").joinpath("data", "_info", table).read_text().split()


def _fixed(info: DataSetInfo, classes: Sequence[str]) -> list[str]:
    known = {plain_name(name): name for name in info.names}
    if strange := [name for name in classes if plain_name(name) not in known]:
        raise EvalError(f"{info.name}: {shorten(strange)} is no class of it; its classes are {', '.join(info.names)}")
    return [known[plain_name(name)] for name in classes]
