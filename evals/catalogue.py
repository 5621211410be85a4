"""The data sets of the paper: what each is, what belongs into its folder, and where it comes from.

One file a data set in catalogue_data/, its name being the data set's and the name of its folder; sources of the figures
are the data sets' own pages and, for counts of CLIP_benchmark's folders, DataComp's task list.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from evals.catalogue_checks import check_collections, check_entry
from evals.errors import EvalError, nearest
from evals.templates import named_templates

_DATA = "catalogue_data"
_SUFFIX = ".toml"
_COLLECTIONS = "collections"
_FIRST = ("paper", "robustness")
"""Collections whose data sets are named before all others."""
_HUB_PREFIX = "wds_"


@dataclass(frozen=True, kw_only=True)
class DataSetInfo:
    """One data set of the catalogue."""

    name: str
    """Also the name of its folder below `root`."""
    title: str
    kind: Literal["classification", "retrieval"]
    metric: str
    """What the paper reports: `acc1`, `mean_per_class_recall`, or `recall@5`."""
    licence: str
    homepage: str
    reference: str
    splits: Mapping[str, tuple[int, ...]]
    """Numbers of images; the first is what `prepare` makes, the others are those of other people's folders."""
    captions: Mapping[str, int] = field(default_factory=dict)
    """Numbers of captions, by split."""
    classes: int | None = None
    """Number of classes; None for retrieval."""
    templates: str | tuple[str, ...] = ()
    """What zero-shot asks for: `simple7`, `openai80`, or prompts with {c}."""
    folder_templates: str | tuple[str, ...] | None = None
    """What the folder's own file of templates has, where it is not `templates`."""
    note: str = ""
    restricted: str | None = None
    """Which labels of ImageNet take part, in words; the folder has only these."""
    also_called: tuple[str, ...] = ()
    class_folders: Literal["name", "letter", "wnid", "number", "objectnet"] = "name"
    """How the folders of a source are named: by class, below its first letter, by WordNet id, by ImageNet's class
    number, or as in ObjectNet."""
    known_classes: str | None = None
    """File of timm that lists the WordNet ids which a source may have."""
    train_per_class: int | None = None
    """Images of each class that go to train where a source has no splits."""
    names: tuple[str, ...] = ()
    """Class names, in order, where they do not follow from the source."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """A source's class names to those of the prompts; others have `_` and `/` turned into spaces."""
    lists: Mapping[str, str] = field(default_factory=dict)
    """By split, the file in the source that names its images."""
    torchvision: Mapping[str, Any] = field(default_factory=dict)
    """`class` of torchvision.datasets, what it `has` below its root, and `splits` with its arguments or the `folder` of
    class folders that it leaves."""
    hub: Mapping[str, Any] = field(default_factory=dict)
    """`id` of the data set on the hub, and its `label` column where there are several."""

    @property
    def folder(self) -> str:
        """Name of the folder below `root`."""
        return self.name

    def find(self, root: str | Path) -> Path | None:
        """Return its folder below `root`, by its name or as CLIP_benchmark's users call it; None without one."""
        others = [f"{_HUB_PREFIX}{name.replace('/', '-')}" for name in (self.name, *self.also_called)]
        places = [Path(root).expanduser() / name for name in (self.name, *self.also_called, *others)]
        return next((place for place in places if place.is_dir()), None)

    def images(self, split: str) -> int:
        """Return the expected number of images of a split, 0 where it has no such split."""
        return self.splits.get(split, (0,))[0]

    def check_images(self, found: Mapping[str, int], place: str | Path, advice: str) -> None:
        """Raise EvalError, which ends in `advice`, where numbers of images by split are not those of this data set.

        A folder may keep a part of train as val: then the two together count.
        """
        found = {split: count for split, count in found.items() if split in (*self.splits, "val")}
        if "val" in found and "val" not in self.splits:
            found["train"] = found.get("train", 0) + found.pop("val")
        for split, count in found.items():
            if count not in self.splits.get(split, (count,)):
                expected = " or ".join(f"{number:,}" for number in self.splits[split])
                raise EvalError(f"{place}: {count:,} images in {split}, but {self.name} has {expected}; {advice}")


def names() -> list[str]:
    """Return the names of all data sets, those of the paper's tables first, in their order. Files are not read."""
    first = [name for group in _FIRST for name in _collections()[group]]
    return list(dict.fromkeys([*first, *_files()]))


def collections() -> list[str]:
    """Return the names of the collections."""
    return list(_collections())


def collection(name: str) -> list[str]:
    """Return the data sets of a collection, in order. Raises EvalError, which names the nearest."""
    if name not in _collections():
        raise EvalError(f"{name}{nearest(name, collections())}: no such collection; valid are {_list(collections())}")
    return list(_collections()[name])


def find(name: str) -> DataSetInfo:
    """Return a data set by its name, or another that it goes by.

    Raises EvalError, which names the nearest; for a file that cannot be, which it names; another file's mistake is told
    only where that file may be the one that is meant.
    """
    if name in _files():
        return _read(name)
    known, wrong = _readable()
    if name not in known:
        told = "".join(f"; left out: {error}" for error in wrong)
        raise EvalError(
            f"{name}{nearest(name, known)}: no such data set in the catalogue; valid are {_list(names())}{told}"
        )
    return known[name]


def prompts_of(info: DataSetInfo) -> tuple[str, ...]:
    """Return the templates that its folder's own file has, each with {c}; none for retrieval."""
    asked = info.templates if info.folder_templates is None else info.folder_templates
    return named_templates(asked) if isinstance(asked, str) else asked


def _readable() -> tuple[dict[str, DataSetInfo], list[EvalError]]:
    """Return all data sets by all of their names, and what is wrong with the files of the others."""
    known: dict[str, DataSetInfo] = {}
    wrong = []
    for name in names():
        try:
            info = _read(name)
        except EvalError as error:
            wrong.append(error)
        else:
            known |= dict.fromkeys((info.name, *info.also_called), info)
    return known, wrong


@cache
def _files() -> tuple[str, ...]:
    """Return the names of all data sets, sorted."""
    found = (path.name for path in _folder().iterdir() if path.name.endswith(_SUFFIX))
    return tuple(sorted({name.removesuffix(_SUFFIX) for name in found} - {_COLLECTIONS}))


@cache
def _collections() -> Mapping[str, list[str]]:
    groups = _loaded(_COLLECTIONS)
    with _named(_COLLECTIONS):
        check_collections(groups, _files(), _FIRST)
    return groups


@cache
def _read(name: str) -> DataSetInfo:
    entry = _loaded(name)
    with _named(name):
        check_entry(entry, {one.name for one in fields(DataSetInfo)} - {"name"})
    splits = {split: tuple(count) if isinstance(count, list) else (count,) for split, count in entry["splits"].items()}
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    if "templates" in lists:
        lists["templates"] = _with_articles(lists["templates"])
    return DataSetInfo(**{**entry, **lists, "name": name, "splits": splits})


def _loaded(name: str) -> dict[str, Any]:
    with _named(name):
        try:
            return tomllib.loads(_folder().joinpath(f"{name}{_SUFFIX}").read_text(encoding="utf-8"))
        except ValueError as error:  # not TOML, or not UTF-8
            raise EvalError(f"no TOML ({error})") from error


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the file's name in front of what is wrong with it."""
    try:
        yield
    except EvalError as error:
        raise EvalError(f"{_folder().joinpath(f'{name}{_SUFFIX}')}: {error}") from error


def _with_articles(forms: tuple[str, ...]) -> tuple[str, ...]:
    """Return templates with `a`, then with `the`, in place of {a}; CLIP's own come in such pairs."""
    articles = ("a", "the") if any("{a}" in form for form in forms) else ("",)
    return tuple(form.replace("{a}", article) for article in articles for form in forms)


def _folder() -> Traversable:
    return resources.files("evals").joinpath(_DATA)


def _list(words: Sequence[str]) -> str:
    return ", ".join(words)
