"""A data set as CLIP_benchmark's users have it: a folder of WebDataset tars.

FOLDER/{train,val,test}/nshards.txt 0.tar 1.tar …   key.jpg (.webp .png .jpeg) beside key.cls (a class number) or
FOLDER/classnames.txt                               key.txt (captions, one a line)
FOLDER/zeroshot_classification_templates.txt        one a line, with {c}
FOLDER/dataset_type.txt                             `retrieval` for captions; else classification
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evals.errors import EvalError, nearest
from evals.tars import IMAGES, Place, TarSample, read_samples
from evals.texts import read_text

SPLITS = ("train", "val", "test")
TEMPLATES_FILE = "zeroshot_classification_templates.txt"
NO_LAYOUT = (
    "no data set in CLIP_benchmark's layout, as no folder in it has nshards.txt; for example test/nshards.txt and "
    "test/0.tar"
)
_TYPE, _CLASSES = "dataset_type.txt", "classnames.txt"
_EDGE_BYTES, _INNER_BYTES, _INNER_BLOCKS = 1 << 18, 1 << 14, 16
_SHOWN = 5


@dataclass(frozen=True)
class Images:
    """Where the n images of a split lie, in the order of their tars."""

    shards: tuple[Path, ...]
    keys: tuple[str, ...]
    shard: npt.NDArray[np.int32]
    """[n], places in `shards`"""
    offset: npt.NDArray[np.int64]
    """[n], bytes"""
    size: npt.NDArray[np.int64]
    """[n], bytes"""

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, index: int) -> str:
        """What a message calls an image."""
        return f"{self.shards[self.shard[index]]}, sample {self.keys[index]}"


@dataclass(frozen=True)
class Split:
    """One split of a data set."""

    folder: Path
    name: str
    retrieval: bool
    shards: tuple[Path, ...]

    @cached_property
    def images(self) -> Images:
        """All images; what stands beside them is in `labels` and `captions`. Raises EvalError for damaged tars."""
        return self._read[0]

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class numbers, [n]. Raises EvalError when a sample has none, or captions in its place."""
        if self.retrieval:
            raise EvalError(f"{self.folder}: a retrieval set has captions and no classes; give a classification set")
        labels = np.empty(len(self.images), np.int64)
        for index, notes in enumerate(self._read[1]):
            labels[index] = _class_number(notes, self.images, index)
        return labels

    @cached_property
    def captions(self) -> tuple[tuple[str, ...], ...]:
        """The captions of each image. Raises EvalError for an image without one and for a classification set."""
        if not self.retrieval:
            raise EvalError(f"{self.folder}: {_TYPE} does not say `retrieval`, so it has classes and no captions")
        return tuple(_captions(notes, self.images, index) for index, notes in enumerate(self._read[1]))

    @cached_property
    def key(self) -> str:
        """Hash of the split's content: names and sizes of all members, all class numbers and captions, sampled pixels.

        Of a tar below about 800 kB all bytes are in it.
        """
        digest = hashlib.sha256()
        images, notes = self._read
        for key, shard, size, note in zip(images.keys, images.shard, images.size, notes, strict=True):
            digest.update(f"{shard}\0{key}\0{size}\0{sorted(note.items())}\0".encode("utf-8", "surrogateescape"))
        for path in self.shards:
            with path.open("rb") as file:
                for start, count in _sampled(path.stat().st_size):
                    file.seek(start)
                    digest.update(file.read(count))
        return digest.hexdigest()

    @cached_property
    def _read(self) -> tuple[Images, list[dict[str, bytes]]]:
        places: list[Place] = []
        keys, shard, notes = [], [], []
        for number, path in enumerate(self.shards):
            samples = read_samples(path)
            if not samples:
                raise EvalError(f"{path}: an empty shard; make the data set anew")
            for sample in samples:
                places.append(_image_of(sample, path))
                keys.append(sample.key)
                shard.append(number)
                notes.append(sample.notes)
        table = np.array(places, np.int64).reshape(-1, 2)
        found = Images(self.shards, tuple(keys), np.array(shard, np.int32), table[:, 0].copy(), table[:, 1].copy())
        return found, notes

    def check_count(self, expected: int | None) -> None:
        """Raise EvalError when the split has another number of images than is expected; None expects nothing."""
        if expected is not None and len(self.images) != expected:
            raise EvalError(
                f"{self.folder / self.name}: {len(self.images)} images in {len(self.shards)} shards, expected "
                f"{expected}; copy or prepare the data set anew"
            )


@dataclass(frozen=True)
class DataFolder:
    """A data set on disk."""

    path: Path
    retrieval: bool
    classnames: tuple[str, ...]
    """Empty where there is no file of them."""
    templates: tuple[str, ...]
    """Empty where there is no file of them."""

    def split(self, name: str) -> Split:
        """Return a split; its shards are there, one for each number below that in nshards.txt. Raises EvalError."""
        folder = self.path / name
        count_file = folder / "nshards.txt"
        if not count_file.is_file():
            have = [one for one in sorted(path.name for path in self.path.iterdir()) if _is_split(self.path / one)]
            raise EvalError(f"split={name}{nearest(name, have)}: there is no {count_file}; there are {', '.join(have)}")
        return Split(self.path, name, self.retrieval, _shards(folder, count_file))

    def has(self, split: str) -> bool:
        """Return whether there is such a split."""
        return _is_split(self.path / split)

    @property
    def text_key(self) -> str:
        """Hash of class names and templates."""
        text = "\0".join([*self.classnames, "", *self.templates])
        return hashlib.sha256(text.encode()).hexdigest()

    def check_labels(self, split: Split) -> None:
        """Raise EvalError for a class number without a name, for an empty name, and when there are no class names."""
        if not self.classnames:
            raise EvalError(
                f"{self.path / _CLASSES}: missing or empty; write one class name a line, in the order of numbers; or, "
                f"if the images have captions, write `retrieval` into {self.path / _TYPE}"
            )
        if "" in self.classnames:
            raise EvalError(
                f"{self.path / _CLASSES}: line {self.classnames.index('') + 1} is empty, and each line is the name of "
                "a class; take the line out"
            )
        labels = split.labels
        bad = np.flatnonzero((labels < 0) | (labels >= len(self.classnames)))
        if len(bad):
            raise EvalError(
                f"{split.images.name(int(bad[0]))}: class {labels[bad[0]]}, but {_CLASSES} has {len(self.classnames)} "
                f"names, 0 to {len(self.classnames) - 1} ({len(bad)} samples are so)"
            )

    def told_class(self, number: int) -> str:
        """Return what a message calls a class."""
        return f"class {number} ({self.classnames[number]!r}, line {number + 1} of {_CLASSES})"

    def empty_classes(self, split: Split) -> list[int]:
        """Return the numbers of the classes without an image in a split whose labels have been checked."""
        return np.flatnonzero(np.bincount(split.labels, minlength=len(self.classnames)) == 0).tolist()


def open_folder(path: str | Path) -> DataFolder:
    """Open a data set; tars are looked at when a split is asked for. Raises EvalError when it is no such folder."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise EvalError(f"data={path}: there is no such folder")
    if not any(_is_split(child) for child in folder.iterdir()):
        raise EvalError(f"data={path}: {NO_LAYOUT}")
    kind = "".join(_lines(folder / _TYPE)).lower() or "classification"
    if kind not in ("classification", "retrieval"):
        raise EvalError(f"{folder / _TYPE}: {kind!r} is not supported; valid are classification and retrieval")
    return DataFolder(folder, kind == "retrieval", _lines(folder / _CLASSES), _lines(folder / TEMPLATES_FILE))


def shorten(names: list[str]) -> str:
    """Join the first names of a list that may be long."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _is_split(folder: Path) -> bool:
    return (folder / "nshards.txt").is_file()


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in read_text(path, str(path)).splitlines())
    except FileNotFoundError:
        return ()


def _shards(folder: Path, count_file: Path) -> tuple[Path, ...]:
    text = count_file.read_text(encoding="utf-8", errors="replace").strip()
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise EvalError(f"{count_file}: {text!r} is no number of shards; write one, 1 or more")
    wanted = [f"{number}.tar" for number in range(int(text))]
    present = {path.name for path in folder.glob("*.tar")}
    if missing := [name for name in wanted if name not in present]:
        raise EvalError(f"{folder}: {len(missing)} of {len(wanted)} shards are missing: {shorten(missing)}; copy them")
    if extra := sorted(present.difference(wanted)):
        raise EvalError(
            f"{folder}: nshards.txt says {len(wanted)}, but there are {shorten(extra)} as well; mend one of them"
        )
    return tuple(folder / name for name in wanted)


def _sampled(size: int) -> list[tuple[int, int]]:
    """Return (start, count) of the bytes that stand for a file: its two ends and blocks spread evenly between."""
    if size <= 2 * _EDGE_BYTES + _INNER_BLOCKS * _INNER_BYTES:
        return [(0, size)]
    step = (size - 2 * _EDGE_BYTES) // _INNER_BLOCKS
    inner = [(_EDGE_BYTES + number * step, _INNER_BYTES) for number in range(_INNER_BLOCKS)]
    return [(0, _EDGE_BYTES), *inner, (size - _EDGE_BYTES, _EDGE_BYTES)]


def _image_of(sample: TarSample, path: Path) -> Place:
    if sample.image is None:
        raise EvalError(
            f"{path}, sample {sample.key}: no image (one of {', '.join(IMAGES)}); it has {', '.join(sample.places)}"
        )
    return sample.image


def _class_number(notes: dict[str, bytes], images: Images, index: int) -> int:
    if "cls" not in notes:
        other = " (multi-label sets, with npy, are not supported)" if "npy" in notes else ""
        raise EvalError(f"{images.name(index)}: no class number, a member {images.keys[index]}.cls{other}")
    try:
        return int(notes["cls"])
    except ValueError:
        raise EvalError(f"{images.name(index)}: {notes['cls'][:20]!r} in its .cls is no class number") from None


def _captions(notes: dict[str, bytes], images: Images, index: int) -> tuple[str, ...]:
    try:
        lines = tuple(notes.get("txt", b"").decode("utf-8").splitlines())
    except UnicodeDecodeError:
        raise EvalError(f"{images.name(index)}: its captions are no UTF-8 text") from None
    if not lines:
        raise EvalError(f"{images.name(index)}: no captions; a member {images.keys[index]}.txt has one a line")
    return lines
