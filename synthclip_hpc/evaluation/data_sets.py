"""The data sets of an evaluation: what the words of `eval.datasets` mean, where they lie, and what is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals import catalogue
from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from sharding.canonical import fingerprint
from synthclip_hpc.config.eval import GLYPH_SETS, EvalConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.evaluation.settings import words
from synthclip_hpc.paths import path_of
from synthclip_hpc.remembered import remembered, stamps

ROOT = "SYNTHCLIP_EVAL_DATA"
_FORM = 1
"""Of what is remembered: to be raised when `Facts` tells other things, or a split is hashed in another way."""


@dataclass(frozen=True)
class Facts:
    """What is in a folder in CLIP_benchmark's layout."""

    retrieval: bool
    classes: int
    """Number of classes; 0 for retrieval."""
    images: dict[str, int]
    """By split."""
    keys: dict[str, str]
    """Hash of the content, by split."""
    texts: str
    """Hash of class names and templates."""
    least: dict[str, int]
    """Images of the class that has the fewest, by split."""

    def sha256(self, splits: tuple[str, ...]) -> str:
        """Return the hash of what a task with these splits reads; splits that are not there do not count."""
        return fingerprint(
            {"splits": {name: self.keys[name] for name in splits if name in self.keys}, "texts": self.texts}
        )


@dataclass(frozen=True)
class DataSet:
    """One of the data sets to evaluate on."""

    name: str
    word: str
    """As `eval.datasets` has it, or the collection that it is of."""
    folder: Path | None
    """None for a built-in set, which the run makes itself."""
    info: DataSetInfo | None
    """None for what is not of the catalogue."""

    @property
    def is_glyphs(self) -> bool:
        """Whether the run makes it itself."""
        return self.folder is None

    def facts(self) -> Facts:
        """Look at the folder. Raises UserError for what is missing, damaged, or not as many as it should be."""
        assert self.folder is not None
        try:
            found = facts_of(self.folder)
            if self.info is not None:
                self.info.check_images(found.images, self.folder)
                _check_classes(self.info, found, self.folder)
        except EvalError as error:
            raise UserError(f"eval.datasets={self.word}: {error}") from error
        if not found.images.get("test"):
            raise UserError(f"eval.datasets={self.word}: {self.folder} has no split called test, which is measured on")
        if not found.retrieval and not found.least["test"]:
            raise UserError(
                f"eval.datasets={self.word}: {self.folder}: a class of its classnames.txt has no image in test, so it "
                "cannot be measured; complete the data set, or take the class out of it"
            )
        return found


def data_sets_of(settings: EvalConfig) -> list[DataSet]:
    """Return the data sets in the order given, each once; the folders of all of them are there.

    Raises UserError for a word that is none, naming the nearest, and for a folder that is not there, with the command
    that makes it.
    """
    found: dict[str, DataSet] = {}
    for word in words(settings.datasets):
        for one in _meant(word, settings.root):
            if one.name in found and found[one.name].folder != one.folder:
                raise UserError(
                    f"eval.datasets={settings.datasets}: two of them are called {one.name} ({found[one.name].folder} "
                    f"and {one.folder}), and results go by names; rename a folder"
                )
            found.setdefault(one.name, one)
    if not found:
        raise UserError("eval.datasets is empty: name a data set, such as cifar10 or glyphs-twemoji")
    return list(found.values())


def _meant(word: str, root: str | None) -> Iterator[DataSet]:
    if word in GLYPH_SETS:
        yield DataSet(word, word, None, None)
    elif word in catalogue.collections():
        for name in catalogue.collection(word):
            yield _of_catalogue(name, word, root)
    elif "/" in word or word.startswith("~") or word in (".", ".."):
        yield _of_folder(word)
    else:
        try:
            yield _of_catalogue(word, word, root)
        except EvalError:
            if Path(word).is_dir():
                yield _of_folder(word)
                return
            known = (*GLYPH_SETS, *catalogue.collections(), *catalogue.names())
            raise UserError(
                f"eval.datasets={word}: no such data set{nearest(word, known)}; valid are {', '.join(known)}, and "
                "folders in CLIP_benchmark's layout"
            ) from None


def _of_folder(word: str) -> DataSet:
    folder = path_of("eval.datasets", word).absolute()
    if not folder.is_dir():
        raise UserError(
            f"eval.datasets={word}: there is no such folder; give one in CLIP_benchmark's layout, or a name"
        )
    return DataSet(folder.resolve().name, word, folder, None)


def _of_catalogue(name: str, word: str, root: str | None) -> DataSet:
    info = catalogue.find(name)
    given = root or os.environ.get(ROOT)
    if not given:
        raise UserError(
            f"eval.datasets={word}: {info.name} is looked for in a folder of data sets; name that folder: "
            f"eval.root=DIR, or set {ROOT}. {_prepare(info, 'DIR')}"
        )
    folder = info.find(path_of("eval.root", given))
    if folder is None:
        raise UserError(
            f"eval.datasets={word}: there is no {info.name} in {given}. {_prepare(info, given)}; or leave it out"
        )
    return DataSet(info.name, word, folder.absolute(), info)


def _prepare(info: DataSetInfo, root: str) -> str:
    return f"Prepare it once: python -m evals.prepare {info.name} root={root} source=… (licence: {info.licence})"


def _check_classes(info: DataSetInfo, found: Facts, folder: Path) -> None:
    if found.retrieval != (info.kind == "retrieval"):
        raise EvalError(f"{folder}: {info.name} is a {info.kind} set, and this folder is not; prepare it anew")
    if info.classes is not None and found.classes != info.classes:
        raise EvalError(f"{folder}: {found.classes} classes, but {info.name} has {info.classes}; prepare it anew")


def facts_of(folder: Path) -> Facts:
    """Look at a folder, or remember what was found when its files were the same. Raises EvalError."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".tar", ".txt") and path.is_file())
    found = remembered("evaluation-data", {"form": _FORM, "files": stamps(files)}, lambda: _look(folder))
    return Facts(**found)


def _look(folder: Path) -> dict[str, Any]:
    from evals.folder import SPLITS, open_folder

    data = open_folder(folder)
    images, keys, least = {}, {}, {}
    for name in (split for split in SPLITS if data.has(split)):
        split = data.split(name)
        if data.retrieval:
            least[name] = min(len(captions) for captions in split.captions)
        else:
            data.check_labels(split)
            counts = [0] * len(data.classnames)
            for label in split.labels.tolist():
                counts[label] += 1
            least[name] = min(counts)
        images[name], keys[name] = len(split.images), split.key
    return {
        "retrieval": data.retrieval,
        "classes": 0 if data.retrieval else len(data.classnames),
        "images": images,
        "keys": keys,
        "texts": data.text_key,
        "least": least,
    }
