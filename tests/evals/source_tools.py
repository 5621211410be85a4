"""Small sources of every kind, whose images tell by their pixels which they are."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evals.catalogue import DataSetInfo, find
from evals.folder import open_folder
from evals.sources.choose import open_source
from evals.sources.samples import Source, image_file

LONG_TAIL = (
    "amber", "chicks", "crystal", "crystal_ball", "loincloth", "rose", "sandcastles", "sundress", "veggies", "x-ray",
)  # fmt: skip


def image(number: int, kind: str = "png") -> bytes:
    """Encode a small picture of one colour, which is its number."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (number % 256, number // 256, 7)).save(buffer, kind)
    return buffer.getvalue()


def class_folders(each: int, classes: Iterable[str] = LONG_TAIL, first: int = 0) -> dict[str, bytes]:
    """Return names and contents of `each` images a class."""
    names = [f"{folder}/{number}.png" for folder in classes for number in range(each)]
    return {name: image(first + number) for number, name in enumerate(names)}


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def images_of(folder: Path, split: str = "test") -> list[bytes]:
    """Return the bytes of all images of a data set, in order."""
    images = open_folder(folder).split(split).images
    files = [path.read_bytes() for path in images.shards]
    places = zip(images.shard, images.offset, images.size, strict=True)
    return [files[shard][offset : offset + size] for shard, offset, size in places]


def opened(name: str | DataSetInfo, source: Path | str, captions: str = "", splits: str = "") -> Source:
    info = find(name) if isinstance(name, str) else name
    return open_source(info, str(source), captions, splits.split(",") if splits else list(info.splits), False)


def told(source: Source) -> dict[str, list[tuple[int, bytes]]]:
    """Return (class number, bytes) of all images of each split."""
    return {
        split: [(sample.label, image_file(sample)[1]) for sample in samples] for split, samples in source.splits.items()
    }
