"""Data sets that torchvision reads, from files that lie on this machine (or that it may download)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from evals.sources.samples import Sample, Source

KIND = "torchvision"


def has_layout(info: DataSetInfo, place: Path) -> bool:
    """Return whether a folder is what torchvision's class of this data set takes for its root."""
    return bool(info.torchvision) and (place / info.torchvision["has"]).is_dir()


def download(info: DataSetInfo, place: Path) -> None:
    """Let torchvision download a data set into a folder. Raises EvalError when it has none, or cannot."""
    if not info.torchvision:
        raise EvalError(f"download=true: torchvision has no {info.name}; get it from {info.homepage}, give source=")
    place.mkdir(parents=True, exist_ok=True)
    for arguments in info.torchvision.get("splits", {"": {}}).values():
        _open(info, place, arguments, download=True)


def read_torchvision(info: DataSetInfo, place: Path, splits: Iterable[str]) -> Source:
    """Return those splits that torchvision has. Raises EvalError where its files are missing or damaged."""
    opened = {
        split: _open(info, place, arguments)
        for split, arguments in info.torchvision["splits"].items()
        if split in set(splits)
    }
    classes = next((tuple(one.classes) for one in opened.values()), ())
    return Source(KIND, {split: _samples(split, one) for split, one in opened.items()}, classes)


def _open(info: DataSetInfo, place: Path, arguments: dict[str, Any], download: bool = False) -> Any:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise EvalError(
            f"source={place}: torchvision reads {info.name} and is not installed; pip install 'synthclip-hpc[train]'"
        ) from error
    try:
        return getattr(datasets, info.torchvision["class"])(place, download=download, **arguments)
    except ImportError as error:
        raise EvalError(
            f"source={place}: to read {info.name} torchvision needs {error.name}; pip install {error.name}"
        ) from error
    except (RuntimeError, OSError) as error:
        raise EvalError(
            f"source={place}: torchvision cannot read {info.name} there ({error}); get it from {info.homepage}, or let "
            "torchvision do so with download=true"
        ) from error


def _samples(split: str, opened: Any) -> list[Sample]:
    """Files are taken as they are; only what torchvision keeps as arrays is made into pictures.

    These are names inside torchvision, as it has no public way to a sample's file; each data set of the catalogue is
    of one of these forms.
    """
    files = getattr(opened, "_image_files", None) or getattr(opened, "_images", None)
    labels = getattr(opened, "_labels", None)
    if files is not None and labels is not None:
        pairs = zip(files, labels, strict=True)
        return [Sample(str(file), partial(Path(file).read_bytes), int(label)) for file, label in pairs]
    targets = opened.targets
    return [
        Sample(f"{split} image {number}", partial(_picture, opened.data, number), int(target))
        for number, target in enumerate(targets)
    ]


def _picture(pixels: Any, number: int) -> Any:
    from PIL import Image

    return Image.fromarray(pixels[number])
