"""Captions from a file, images from a folder or an archive: Karpathy's JSON of splits, or a table image, caption."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath

from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from evals.sources.files import Files
from evals.sources.samples import Sample, Source
from evals.texts import read_text

KIND = "captions"
_MORE_TRAIN = "restval"
"""Karpathy's word for images of COCO's val2014 that are used to train with."""

Entry = tuple[str, str, str]
"""Split, image, caption."""


def read_captions(path: Path, files: Files, info: DataSetInfo) -> Source:
    """Return a retrieval set; the images and the captions of each are in the order of the file.

    A table has the columns `image` and `caption`, with a comma or a tab between, and may have `split`; without it all
    is test. Raises EvalError for a file of another form and for images that are missing.
    """
    if not path.is_file():
        raise EvalError(f"captions={path}: there is no such file; give Karpathy's JSON, or a table image,caption")
    text = read_text(path, f"captions={path}").removeprefix("\ufeff")
    try:
        entries = list(_karpathy(text) if path.suffix.lower() == ".json" else _table(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvalError(
            f"captions={path}: neither Karpathy's JSON (images, each with filename, split and sentences) nor a table "
            f"with a first line image,caption ({error!r})"
        ) from error
    captions: dict[tuple[str, str], list[str]] = {}
    for split, image, caption in entries:
        captions.setdefault((split, image), []).append(caption)
    find = _Finder(files)
    splits: dict[str, list[Sample]] = {}
    for (split, image), told in captions.items():
        if split not in info.splits:
            continue
        name = find(image)
        if name is None:
            raise EvalError(f"source={files.place}: no image {image}, which {path.name} has captions of; get it anew")
        splits.setdefault(split, []).append(
            Sample(f"{files.place}/{name}", partial(files.read, name), captions=tuple(told))
        )
    return Source(KIND, splits)


class _Finder:
    """Finds an image by its place, or, where only one is called so, by its name alone."""

    def __init__(self, files: Files) -> None:
        self._names = set(files.names)
        self._called: dict[str, list[str]] = {}
        for name in files.names:
            self._called.setdefault(PurePosixPath(name).name, []).append(name)

    def __call__(self, image: str) -> str | None:
        if image in self._names:
            return image
        called = self._called.get(PurePosixPath(image).name, [])
        ending = [name for name in called if name.endswith(f"/{image}")]
        return next((found[0] for found in (ending, called) if len(found) == 1), None)


def _karpathy(text: str) -> Iterable[Entry]:
    for image in json.loads(text)["images"]:
        place = "/".join(part for part in (image.get("filepath", ""), image["filename"]) if part)
        split = "train" if image["split"] == _MORE_TRAIN else image["split"]
        for sentence in image["sentences"]:
            yield split, place, sentence["raw"]


def _table(text: str) -> Iterable[Entry]:
    first = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in first else ",", skipinitialspace=True)
    for row in rows:
        yield row.get("split") or "test", row["image"].strip(), row["caption"]
