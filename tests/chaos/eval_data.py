"""The data sets of the evaluation under chaos, in CLIP_benchmark's layout: small real ones, else drawn ones."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from tests.data import data_folder
from tests.evals import small_world

_TEMPLATES = ("a photo of a {c}.",)


def write_sets(folder: Path) -> list[Path]:
    """Write the sets into `folder` and return theirs; drawn ones where the real data are not beside the repository."""
    data = data_folder()
    if not data.is_dir():
        shapes = small_world.write_classification(folder / "shapes", images=1200)
        return [shapes, small_world.write_retrieval(folder / "pairs", images=400)]
    cifar = data / "cifar10-3k"
    caltech, imagenet = data / "caltech101-23", data / "imagenet-sample-1000"
    return [
        _classification(
            folder / "cifar10-3k",
            {"train": cifar / "train-2000.tar", "test": cifar / "test-1000.tar"},
            (cifar / "classes.txt").read_text(encoding="utf-8").split("\n"),
        ),
        _classification(
            folder / "caltech101-23",
            {"train": caltech / "train-15perclass.tar", "test": caltech / "test-8perclass.tar"},
            _column(caltech / "classes.tsv", 2),
        ),
        _classification(
            folder / "imagenet-sample",
            {"test": imagenet / "imagenet-sample-1000.tar"},
            _column(imagenet / "classes.tsv", 2),
        ),
        _retrieval(folder / "flickr8k-700", data / "flickr8k-retrieval" / "flickr8k-retrieval-700.tar"),
    ]


def _classification(folder: Path, splits: dict[str, Path], classes: list[str]) -> Path:
    for split, tar in splits.items():
        (folder / split).mkdir(parents=True)
        (folder / split / "0.tar").symlink_to(tar)
        (folder / split / "nshards.txt").write_text("1\n")
    small_world.write_texts(folder, [name for name in classes if name.strip()], _TEMPLATES)
    return folder


def _column(table: Path, number: int) -> list[str]:
    return [line.split("\t")[number] for line in table.read_text(encoding="utf-8").splitlines() if line]


def _retrieval(folder: Path, tar: Path) -> Path:
    members = []
    with tarfile.open(tar) as source:
        for member in source:
            content = source.extractfile(member)
            assert content is not None
            data = io.BytesIO(content.read()).getvalue()
            if member.name.endswith(".json"):
                captions = json.loads(data)["captions"]
                members.append((member.name.removesuffix(".json") + ".txt", "\n".join(captions).encode()))
            else:
                members.append((member.name, data))
    small_world.write_split(folder, "test", [members])
    (folder / "dataset_type.txt").write_text("retrieval")
    return folder
