"""Tells what kind of source was given, and opens it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evals.catalogue import DataSetInfo
from evals.errors import EvalError
from evals.folder import NO_LAYOUT, SPLITS
from evals.sources import hub_sets, torchvision_sets
from evals.sources.caption_files import read_captions
from evals.sources.class_folders import read_class_folders
from evals.sources.files import open_files
from evals.sources.samples import Source


def is_benchmark_folder(source: str) -> bool:
    """Return whether a source has CLIP_benchmark's layout already."""
    return bool(source) and any(Path(source).expanduser().glob("*/nshards.txt"))


def open_source(info: DataSetInfo, source: str, captions: str, splits: Sequence[str], download: bool) -> Source:
    """Return what a source has of a data set's splits; images are read later. Raises EvalError."""
    if not source:
        raise EvalError(f"source=: give what {info.name} is made from; python -m evals.prepare {info.name} --help")
    if captions and info.kind != "retrieval":
        raise EvalError(f"captions={captions}: {info.name} is a classification set, which has none; leave it out")
    if source.startswith(hub_sets.PREFIX):
        return hub_sets.read_hub(info, source, splits, download)
    place = Path(source).expanduser()
    if download:
        torchvision_sets.download(info, place)
    if not place.exists():
        raise EvalError(f"source={source}: there is nothing there; get {info.name} from {info.homepage}")
    if _lacks_counts(place):
        raise EvalError(f"source={source}: {NO_LAYOUT}")
    if info.kind == "retrieval":
        return _retrieval(info, place, captions, splits, download)
    if torchvision_sets.has_layout(info, place):
        if "splits" in info.torchvision:
            return torchvision_sets.read_torchvision(info, place, splits)
        place = place / info.torchvision["folder"]
    if hub_sets.has_layout(place):
        return hub_sets.read_hub(info, str(place), splits, download)
    return read_class_folders(open_files(place), info, splits)


def _lacks_counts(place: Path) -> bool:
    """Return whether a source has splits of numbered tars, as CLIP_benchmark's folders, and nothing counts them."""
    return any((place / split / "0.tar").is_file() for split in SPLITS) and not is_benchmark_folder(str(place))


def _retrieval(info: DataSetInfo, place: Path, captions: str, splits: Sequence[str], download: bool) -> Source:
    if captions:
        return read_captions(Path(captions).expanduser(), open_files(place), info)
    if hub_sets.has_layout(place):
        return hub_sets.read_hub(info, str(place), splits, download)
    raise EvalError(
        f"captions=: {info.name} is a retrieval set: give Karpathy's JSON or a table image,caption beside source=IMAGES"
    )
