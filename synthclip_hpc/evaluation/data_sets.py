"""The data sets of an evaluation: what the words of `eval.datasets` mean, where they lie, whether they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals import catalogue
from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from synthclip_hpc.config.eval import GLYPH_SETS, EvalConfig
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.evaluation.facts import Facts, facts_of
from synthclip_hpc.evaluation.settings import words
from synthclip_hpc.paths import path_of

ROOT = "SYNTHCLIP_EVAL_DATA"
_OWN_SPLIT = "val"
"""A part of train that a folder may keep by itself: the catalogue counts the two together where it has none."""


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
                _check_contents(self.info, found, self.folder)
        except EvalError as error:
            raise UserError(f"eval.datasets={self.word}: {error}") from error
        if not found.images.get("test"):
            raise UserError(f"eval.datasets={self.word}: {self.folder} has no split called test, which is measured on")
        if not found.retrieval and not found.least["test"]:
            raise UserError(
                f"eval.datasets={self.word}: {self.folder}: {_empty_classes(self.folder)} no image in test, so it "
                "cannot be measured; complete the data set, or take the class out of it"
            )
        return found

    def check_prompts(self) -> None:
        """Raise UserError where prompts are wanted, and the folder's own file has none, or some without {c}."""
        from evals.folder import open_folder
        from evals.templates import folder_templates

        assert self.folder is not None
        try:
            folder_templates(open_folder(self.folder))
        except EvalError as error:
            raise UserError(
                f"eval.datasets={self.word}: {error}, or give other prompts: eval.templates=openai80, "
                "eval.templates=simple7 or eval.templates=FILE"
            ) from error

    def has_catalogued(self, facts: Facts, splits: Sequence[str]) -> bool:
        """Return whether, of these splits, the folder has the catalogue's and no others; `facts` are those above."""
        if self.info is None:
            return False
        known = {name for name in splits if name in self.info.splits}
        there = {name for name in splits if name in facts.images}
        return there - {_OWN_SPLIT} == known - {_OWN_SPLIT} and (_OWN_SPLIT in there or _OWN_SPLIT not in known)


@dataclass(frozen=True)
class Asked:
    """What a word of `eval.datasets` means, before anybody has looked whether it is there."""

    name: str
    word: str
    path: Path | None = None
    """Of a folder that is given by its path."""
    info: DataSetInfo | None = None
    """Of one of the catalogue; neither: a built-in set."""

    def found(self, root: str | None) -> DataSet:
        """Return the data set, whose folder is there; `root` is `eval.root`. Raises UserError saying what to do."""
        if self.info is not None:
            return self._below(self.info, root)
        if self.path is not None and not self.path.is_dir():
            raise UserError(
                f"eval.datasets={self.word}: there is no such folder; give one in CLIP_benchmark's layout, or a name"
            )
        return DataSet(self.name, self.word, self.path, None)

    def _below(self, info: DataSetInfo, root: str | None) -> DataSet:
        given = given_root(root)
        if given is None:
            raise UserError(
                f"eval.datasets={self.word}: {info.name} is looked for in a folder of data sets; name that folder: "
                f"eval.root=DIR, or set {ROOT}. {_prepare(info, 'DIR')}"
            )
        folder = info.find(path_of("eval.root", given))
        if folder is None:
            raise UserError(
                f"eval.datasets={self.word}: there is no {info.name} in {given}. {_prepare(info, given)}; or leave it "
                "out"
            )
        return DataSet(info.name, self.word, folder.absolute(), info)


def given_root(root: str | None) -> str | None:
    """Return the folder of the catalogue's data sets: `eval.root`, or what this machine has for it."""
    return root or os.environ.get(ROOT) or None


def data_sets_of(settings: EvalConfig) -> list[DataSet]:
    """Return the data sets in the order given, each once; the folders of all of them are there.

    Raises UserError for a word that is none, naming the nearest, and for a folder that is not there, with the command
    that makes it.
    """
    found: dict[str, DataSet] = {}
    for one in (asked.found(settings.root) for asked in asked_of(settings)):
        before = found.setdefault(one.name, one)
        if before.folder != one.folder:
            raise UserError(
                f"eval.datasets={settings.datasets}: two of them are called {one.name} ({_told(before)} and "
                f"{_told(one)}), and results go by names; rename a folder, or copy it under another name"
            )
    if not found:
        raise UserError("eval.datasets is empty: name a data set, such as cifar10 or glyphs-twemoji")
    return list(found.values())


def asked_of(settings: EvalConfig) -> Iterator[Asked]:
    """Yield what the words mean, whether it is there or not. Raises UserError for a word that means nothing."""
    for word in words(settings.datasets):
        yield from _meant(word)


def _meant(word: str) -> Iterator[Asked]:
    if word in GLYPH_SETS:
        yield Asked(word, word)
    elif "/" in word or word.startswith("~") or word in (".", ".."):
        yield _of_folder(word)
    else:
        yield from _by_name(word)


def _by_name(word: str) -> list[Asked]:
    try:
        groups, names = catalogue.collections(), catalogue.names()
        if word in (*groups, *names):  # else what is wrong may be in the file of any
            return [_of_catalogue(name, word) for name in (catalogue.collection(word) if word in groups else [word])]
    except EvalError as error:
        raise UserError(f"eval.datasets={word}: {error}") from error
    try:
        return [_of_catalogue(word, word)]  # another name of one
    except EvalError:
        if Path(word).is_dir():
            return [_of_folder(word)]
        known = (*GLYPH_SETS, *groups, *names)
        raise UserError(
            f"eval.datasets={word}: no such data set{nearest(word, known)}; valid are {', '.join(known)}, and folders "
            f"in CLIP_benchmark's layout by their path, which has a / (./{word})"
        ) from None


def _of_folder(word: str) -> Asked:
    path = path_of("eval.datasets", word).absolute()
    return Asked(path.resolve().name, word, path)


def _of_catalogue(name: str, word: str) -> Asked:
    info = catalogue.find(name)
    return Asked(info.name, word, None, info)


def _told(one: DataSet) -> str:
    return "the one that this run draws" if one.folder is None else str(one.folder)


def _prepare(info: DataSetInfo, root: str) -> str:
    return f"Prepare it once: python -m evals.prepare {info.name} root={root} source=… (licence: {info.licence})"


def _empty_classes(folder: Path) -> str:
    """Return which classes have no test image, with a verb."""
    from evals.folder import open_folder

    data = open_folder(folder)
    first, *more = data.empty_classes(data.split("test"))
    others = f" and {len(more):,} more" if more else ""
    return f"{data.told_class(first)}{others} {'have' if more else 'has'}"


def _check_contents(info: DataSetInfo, found: Facts, folder: Path) -> None:
    advice = (
        f"remove it and make it anew: python -m evals.prepare {info.name} root=DIR source=…; or measure the sample as "
        f"it is: eval.datasets={folder}"
    )
    info.check_images(found.images, folder, advice)
    if found.retrieval != (info.kind == "retrieval"):
        raise EvalError(f"{folder}: {info.name} is a {info.kind} set, and this folder is not; prepare it anew")
    if info.classes is not None and found.classes != info.classes:
        raise EvalError(f"{folder}: {found.classes} classes, but {info.name} has {info.classes}; {advice}")
    for split, count in found.captions.items():
        if count != (expected := info.captions.get(split, count)):
            raise EvalError(f"{folder}: {count:,} captions in {split}, but {info.name} has {expected:,}; {advice}")
