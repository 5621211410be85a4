"""Folders of classes, in a folder or an archive, sorted out into splits and class numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from evals.sources.files import Files
from evals.sources.samples import Sample, Source

KIND = "class folders"
_SPLIT_WORDS = {
    "train": "train", "training": "train", "trainval": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def read_class_folders(files: Files, info: DataSetInfo, asked: Sequence[str]) -> Source:
    """Return a data set whose images lie in folders called as their classes.

    Splits are what the catalogue's lists say, else folders called `train`, `val` and `test` above the classes, else
    the catalogue's number of training images a class; else all is the one split that is `asked` for, or that the data
    set has. Raises EvalError where none of these tells.
    """
    places = _below_common_folders(files.images())
    if not places:
        raise EvalError(f"source={files.place}: no image in it; give a folder, or an archive, of class folders")
    parted = _parted(places, files, info, asked)
    kept = _kept_folders(files, info)
    labelled = {split: [(name, _class_of(place, files)) for name, place in found] for split, found in parted.items()}
    if kept is not None:
        labelled = {split: [pair for pair in pairs if pair[1] in kept] for split, pairs in labelled.items()}
    folders = sorted({folder for pairs in labelled.values() for _, folder in pairs}, key=_natural)
    number = {folder: place for place, folder in enumerate(folders)}
    splits = {
        split: [Sample(f"{files.place}/{name}", partial(files.read, name), number[folder]) for name, folder in pairs]
        for split, pairs in labelled.items()
    }
    classes = folders if kept is None else [kept[folder] for folder in folders]
    return Source(KIND, splits, tuple(classes))


def splits_of(words: Iterable[str], info: DataSetInfo) -> dict[str, str] | None:
    """Return which of a data set's splits each word of a source means; None where one of the words is no split.

    Sets whose test images have no labels are tested on what they call validation.
    """
    splits = {word: _SPLIT_WORDS.get(word.lower(), "") for word in words}
    if "test" not in splits.values() and "val" not in info.splits:
        splits = {word: "test" if split == "val" else split for word, split in splits.items()}
    return splits if all(splits.values()) else None


Pairs = list[tuple[str, PurePosixPath]]
"""The name of a file, and its place below the folders that all images share."""


def _below_common_folders(names: Sequence[str]) -> Pairs:
    places = [(name, PurePosixPath(name)) for name in names]
    while places and all(len(place.parts) > 2 for _, place in places):
        first, *more = {place.parts[0] for _, place in places}
        if more or first.lower() in _SPLIT_WORDS:
            break
        places = [(name, PurePosixPath(*place.parts[1:])) for name, place in places]
    return places


def _parted(places: Pairs, files: Files, info: DataSetInfo, asked: Sequence[str]) -> dict[str, Pairs]:
    if info.lists and (listed := _by_lists(places, files, info)) is not None:
        return listed
    if splits := splits_of({place.parts[0] for _, place in places}, info):
        parted: dict[str, Pairs] = {}
        for name, place in places:
            parted.setdefault(splits[place.parts[0]], []).append((name, PurePosixPath(*place.parts[1:])))
        return parted
    if info.train_per_class is not None and list(asked) != ["test"]:
        return _by_hash(places, files, info.train_per_class)
    alone = list(asked) or list(info.splits)
    if len(alone) == 1:
        return {alone[0]: places}
    wanted = " and ".join(info.lists.values()) or "folders called " + ", ".join(info.splits)
    raise EvalError(
        f"source={files.place}: no splits in it: {wanted} would tell them; or take all for one, with splits=test"
    )


def _by_lists(places: Pairs, files: Files, info: DataSetInfo) -> dict[str, Pairs] | None:
    """Return the images that the catalogue's lists name, or None where the source has no such lists."""
    found = {split: files.named(file_name) for split, file_name in info.lists.items()}
    if None in found.values():
        return None
    place_of = {str(place): (name, place) for name, place in places}
    parted: dict[str, Pairs] = {}
    for split, list_name in found.items():
        lines = [
            line.strip().lstrip("/") for line in files.read(str(list_name)).decode("utf-8", "replace").splitlines()
        ]
        if missing := [line for line in lines if line and line not in place_of]:
            raise EvalError(f"source={files.place}: {missing[0]}, which {list_name} names, is missing; get it anew")
        parted[split] = [place_of[line] for line in lines if line]
    return parted


def _by_hash(places: Pairs, files: Files, train_per_class: int) -> dict[str, Pairs]:
    by_class: dict[str, Pairs] = {}
    for pair in places:
        by_class.setdefault(_class_of(pair[1], files), []).append(pair)
    train: set[str] = set()
    for pairs in by_class.values():
        order = sorted(pairs, key=lambda pair: hashlib.sha256(str(pair[1]).encode()).digest())
        train.update(name for name, _ in order[:train_per_class])
    return {
        "train": [pair for pair in places if pair[0] in train],
        "test": [pair for pair in places if pair[0] not in train],
    }


def _class_of(place: PurePosixPath, files: Files) -> str:
    if len(place.parts) < 2:
        raise EvalError(f"source={files.place}: {place} lies in no class folder; give the folder above the classes")
    return str(place.parent)


def _natural(folder: str) -> tuple[int, int, str]:
    """Numbers in their order, then names in theirs."""
    number = folder.isascii() and folder.isdigit()
    return (0, int(folder), "") if number else (1, 0, folder)


def _kept_folders(files: Files, info: DataSetInfo) -> Mapping[str, str] | None:
    """Return, for ObjectNet, the class of each folder that is one of ImageNet's as well; else None."""
    if info.class_folders != "objectnet":
        return None
    tables = []
    for file_name in ("folder_to_objectnet_label.json", "objectnet_to_imagenet_1k.json"):
        name = files.named(file_name)
        if name is None:
            raise EvalError(
                f"source={files.place}: no {file_name}; ObjectNet's archive has it in mappings/, beside images/"
            )
        tables.append(json.loads(files.read(name)))
    return {folder: label for folder, label in tables[0].items() if label in tables[1]}
