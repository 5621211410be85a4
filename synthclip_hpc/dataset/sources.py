"""Folders of WebDataset tars from elsewhere: which tars, in which order, and what tells them apart.

Keys such as `merge.sources` and `train.data` name them; `key` is what a message calls them by. A source is called by
its folder's name; the second of one name gets `-2` behind it, and so on. Tars are numbered, so equal file names are no
matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sharding.canonical import fingerprint
from sharding.tar_scan import TarError, mapped, samples, scan
from synthclip_hpc.errors import UserError
from synthclip_hpc.fingerprints import sample_file
from synthclip_hpc.paths import path_of
from synthclip_hpc.remembered import remembered, stamps

_VALID = "folders with .tar files, with a comma between them, each with a cap on its samples where wanted: DIR or DIR:N"
_VERSION = 1


@dataclass(frozen=True)
class TarSource:
    """One folder of tars."""

    name: str
    folder: Path
    tars: tuple[Path, ...]
    """In order of their names below the folder; with a cap only as many as it takes."""
    cap: int | None
    """Samples to take, from the first on; None = all."""

    def identity(self) -> dict[str, Any]:
        """Return what a plan keeps of it: name, cap, and a fingerprint of sizes and samples of the tars' bytes."""
        key = [_VERSION, stamps(self.tars)]
        found = remembered("tar-sources", key, lambda: fingerprint([sample_file(tar, 2) for tar in self.tars]))
        return {"name": self.name, "cap": self.cap, "tars": len(self.tars), "fingerprint": found}


class NamedSource(NamedTuple):
    """One source as a key names it; whether it is there is not known yet."""

    name: str
    given: str
    """The folder as the user wrote it."""
    cap: int | None


def split_sources(text: str, key: str) -> list[tuple[str, int | None]]:
    """Return (folder as given, cap) of each source. Raises UserError for an empty name and a cap that is none."""
    found = []
    for part in text.split(","):
        name, colon, cap = part.strip().rpartition(":")
        if not colon or path_of(key, part.strip()).is_dir():
            name, cap = part.strip(), ""
        if not name:
            raise UserError(f"{key}={text}: a name is missing between its commas. Valid: {_VALID}")
        if colon and cap and not (cap.isascii() and cap.isdigit() and int(cap) > 0):
            raise UserError(f"{key}={part.strip()}: the cap {cap!r} is no whole number from 1 on. Valid: {_VALID}")
        if colon and not cap and name != part.strip():
            raise UserError(f"{key}={part.strip()}: there is no number behind the colon. Valid: {_VALID}")
        found.append((name, int(cap) if cap else None))
    return found


def anchored(text: str, key: str) -> str:
    """Return the same sources with absolute paths: a run must not depend on where a later command is typed."""
    parts = ((path_of(key, name), name, cap) for name, cap in split_sources(text, key))
    told = ((str(path.absolute()) if path.exists() else name, cap) for path, name, cap in parts)
    return ",".join(name if cap is None else f"{name}:{cap}" for name, cap in told)


def named_sources(text: str | None, key: str, taken: Iterable[str] = ()) -> list[NamedSource]:
    """Return what the sources are called, by the text alone. `taken`: names that none of them gets.

    Raises UserError as `split_sources` does.
    """
    found: list[NamedSource] = []
    names = set(taken)
    for given, cap in split_sources(text, key) if text else []:
        name = _distinct(path_of(key, given).absolute().name, names)
        names.add(name)
        found.append(NamedSource(name, given, cap))
    return found


def find_sources(text: str | None, key: str, taken: Iterable[str] = ()) -> list[TarSource]:
    """Find the tars of the sources. Counts samples where there is a cap: a header a member, once for each tar.

    Raises UserError for a folder that is not there or holds no tar, and for a damaged tar before the cap is reached.
    """
    found: list[TarSource] = []
    for name, given, cap in named_sources(text, key, taken):
        folder = path_of(key, given).absolute()
        tars = _tars_below(folder, f"{key}={given}")
        if cap is not None:
            tars = _up_to(tars, cap, key)
        found.append(TarSource(name, folder, tuple(tars), cap))
    return found


def _distinct(name: str, taken: set[str]) -> str:
    names = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(one for one in names if one not in taken)


def _tars_below(folder: Path, told: str) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{told}: there is no such folder. Valid: {_VALID}")
    if (folder / "run.toml").exists():
        raise UserError(f"{told}: this is a run; name its finished data set, {told.partition('=')[2]}/dataset")
    below = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*.tar") if file.is_file()}
    tars = [below[name] for name in sorted(below) if not any(part[0] in "._" for part in name.split("/"))]
    if not tars:
        raise UserError(f"{told}: no .tar file in this folder. Valid: {_VALID}")
    return tars


def _up_to(tars: list[Path], cap: int, key: str) -> list[Path]:
    counted = 0
    for number, tar in enumerate(tars):
        counted += remembered("tar-samples", [_VERSION, stamps([tar])], partial(_num_samples, tar, key))
        if counted >= cap:
            return tars[: number + 1]
    return tars


def _num_samples(tar: Path, key: str) -> int:
    from synthclip_hpc.dataset.foreign_tar import usable

    try:
        with mapped(tar) as content:
            return sum(1 for one in samples(scan(content, tar), tar, ordered=False) if usable(one))
    except TarError as error:
        raise UserError(f"{key}: {error}; fetch or make this tar again, or take it out of the folder") from error


def numbered_tars(num_own: int, sources: list[TarSource]) -> Iterator[tuple[int, TarSource, Path]]:
    """Yield (number, source, path) of the tars of all sources, counted from the run's own on."""
    number = num_own
    for source in sources:
        for tar in source.tars:
            yield number, source, tar
            number += 1
