"""The images that a run has so far: those of finished shards, and the whole items of shards in the making."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sharding.directory import PhaseDirectory
from sharding.files import read_file
from sharding.tar_scan import Member, Sample, TarError, mapped, samples, scan
from synthclip_hpc.dataset.contact_sheet import evenly
from synthclip_hpc.dataset.own_members import PARTS, REJECT


class Shown(NamedTuple):
    """An image, its caption and its key."""

    key: str
    image: bytes
    caption: str


class RenderedTars:
    """The tars of the phase `draw`, finished or not; one listing when it is made, and no tar is read before it is used.

    Of a shard in the making the longest partial file counts. Other processes may finish shards meanwhile.
    """

    def __init__(self, directory: PhaseDirectory, suffix: str) -> None:
        self._directory, self._suffix = directory, suffix
        self._finished = {shard: directory.data_path(shard, suffix) for shard in directory.output_shards(suffix)}
        self._partial: dict[int, Path] = {}
        sizes: dict[int, int] = {}
        for path in sorted((directory.path / "partial").glob("*/*.part")):
            shard, size = int(path.name.partition(".")[0]), _size(path)
            if shard not in self._finished and size > sizes.get(shard, 0):
                self._partial[shard], sizes[shard] = path, size

    def spread(self, count: int) -> list[Shown]:
        """Return so many images (or all there are), spread evenly: over the finished shards if there is any, else over
        those in the making."""
        paths = [found[shard] for found in (self._finished or self._partial,) for shard in sorted(found)]
        chosen = evenly(len(paths), count)
        shown: list[Shown] = []
        for place, number in enumerate(chosen):
            wanted = (place + 1) * count // len(chosen) - place * count // len(chosen)
            shown += self._read(paths[number], wanted, place / max(1, len(chosen) - 1))
        return shown

    def newest(self, count: int) -> list[Shown]:
        """Return the last images of the tars that were written to last, the newest first."""
        shown: list[Shown] = []
        for path in sorted([*self._finished.values(), *self._partial.values()], key=_changed, reverse=True):
            shown += self._read(path, count - len(shown), None)
            if len(shown) >= count:
                break
        return shown

    def of(self, shard: int, keys: Sequence[str]) -> tuple[list[Shown], list[str]]:
        """Return the images of these keys of a shard that are there, and the keys of those that were rejected."""
        path = self._finished.get(shard) or self._partial.get(shard)
        if path is None:
            return [], []
        content, found, rejected = self._now(path)
        return [_shown(content, one) for one in found if one.key in keys], [key for key in keys if key in rejected]

    def _read(self, path: Path, count: int, share: float | None) -> list[Shown]:
        """Return `count` images of a tar: the last, newest first, with no share; else spread, a single one at its
        share of the tar."""
        content, found, _ = self._now(path)
        if share is None:
            chosen = list(range(len(found)))[::-1][:count]
        elif count == 1 and found:
            chosen = [round(share * (len(found) - 1))]
        else:
            chosen = evenly(len(found), count)
        return [_shown(content, found[number]) for number in chosen]

    def _now(self, path: Path) -> tuple[bytes, list[Sample], set[str]]:
        """Return what `_content` does of a tar; empty for one that was given up or reopened since it was listed."""
        try:
            return _content(path)
        except FileNotFoundError:
            finished = self._directory.data_path(int(path.name.partition(".")[0]), self._suffix)
        try:
            return _content(finished)
        except FileNotFoundError:
            return b"", [], set()


def _content(path: Path) -> tuple[bytes, list[Sample], set[str]]:
    """Return a tar's bytes, its whole samples and the keys of its rejects. Raises FileNotFoundError as it comes."""
    if path.suffix == ".part":
        content = read_file(path)
    else:
        with mapped(path) as map_:
            content = bytes(map_)
    rejected: set[str] = set()

    def members() -> Iterator[Member]:
        try:
            for member in scan(content, path):
                if member.name.startswith(REJECT):
                    rejected.add(member.name.removeprefix(REJECT))
                yield member
        except TarError:
            # The end of a tar in the making: what stands before it is whole.
            if path.suffix != ".part":
                raise

    found = [one for one in samples(members(), path) if one.members.keys() == set(PARTS)]
    return content, found, rejected


def _shown(content: bytes, sample: Sample) -> Shown:
    image, text = (sample.members[part] for part in ("jpg", "txt"))
    caption = content[text.offset : text.offset + text.size].decode(errors="replace")
    return Shown(sample.key, content[image.offset : image.offset + image.size], caption)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _changed(path: Path) -> tuple[float, str]:
    try:
        return path.stat().st_mtime, str(path)
    except FileNotFoundError:
        return 0.0, str(path)
