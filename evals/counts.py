"""Whether a data set has the images, classes and captions that the catalogue says, before and after it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from evals.folder import SPLITS, DataFolder, Split, shorten
from evals.sources.samples import Source

_ADVICE = "get it anew, or take it as it is with any_count=true"


@dataclass(frozen=True)
class Counts:
    """Of one split."""

    images: int
    captions: int
    labels: Mapping[int, int]
    """Number of images by class number; empty for retrieval."""


def counts_of_source(source: Source, splits: Sequence[str]) -> dict[str, Counts]:
    """Return the counts of the splits that are to be written, which the source has."""
    found = {}
    for split in splits:
        samples = source.splits[split]
        captions = sum(len(sample.captions or ()) for sample in samples)
        labels = Counter(sample.label for sample in samples if sample.captions is None)
        found[split] = Counts(len(samples), captions, labels)
    return found


def check_folder(info: DataSetInfo, folder: DataFolder, any_count: bool) -> dict[str, Counts]:
    """Return the counts of a folder, all labels and captions of which were read.

    Raises EvalError for a folder of another kind, for labels without a name, for another number of classes and, unless
    `any_count`, for other counts.
    """
    if folder.retrieval != (info.kind == "retrieval"):
        raise EvalError(f"{folder.path}: no {info.kind} set, but {info.name} is one; {_other_kind(info)}")
    found = {name: _counts_of_split(folder, folder.split(name)) for name in SPLITS if folder.has(name)}
    check_classes(info, folder.classnames, str(folder.path))
    if not any_count:
        check_counts(info, found, folder.classnames, str(folder.path))
    return found


def check_classes(info: DataSetInfo, names: Sequence[str], place: str) -> None:
    """Raise EvalError where the number of class names is not the catalogue's: then it is another data set."""
    if info.classes is not None and len(names) != info.classes:
        raise EvalError(
            f"{place}: {len(names)} classes, but {info.name} has {info.classes}; give {info.name}'s own, or measure it "
            "by its path, without a name of the catalogue (any_count=true is for other numbers of images)"
        )


def check_counts(info: DataSetInfo, counts: Mapping[str, Counts], names: Sequence[str], place: str) -> None:
    """Raise EvalError where counts are not the catalogue's, and for classes without a test image."""
    info.check_images({split: count.images for split, count in counts.items()}, place, _ADVICE)
    for split, count in counts.items():
        if count.captions != info.captions.get(split, count.captions):
            raise EvalError(
                f"{place}: {count.captions:,} captions in {split}, but {info.name} has {info.captions[split]:,}; "
                f"{_ADVICE}"
            )
    if info.classes is None:
        return
    test = counts.get("test")
    if test is not None and (empty := [name for number, name in enumerate(names) if not test.labels.get(number)]):
        raise EvalError(f"{place}: {len(empty)} classes have no test image: {shorten(empty)}; {_ADVICE}")


def _other_kind(info: DataSetInfo) -> str:
    if info.kind == "retrieval":
        return "write `retrieval` into its dataset_type.txt if it has captions, else give another folder"
    return "give another folder"


def _counts_of_split(folder: DataFolder, split: Split) -> Counts:
    if folder.retrieval:
        return Counts(len(split.images), sum(len(told) for told in split.captions), {})
    folder.check_labels(split)
    return Counts(len(split.images), 0, Counter(split.labels.tolist()))
