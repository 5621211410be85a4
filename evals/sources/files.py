"""The files of a source, be they in a folder, a zip or a tar: their names, and the content of each.

Nothing of an archive is ever extracted: members are read as streams, and names only sorted by.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from evals.errors import EvalError

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
_LARGEST = 1 << 28
"""Bytes; no image of these data sets is near, so a member above it is a mistake or a trap."""


@dataclass(frozen=True)
class Files:
    """Names are relative, with `/`. Of a tar they are in its order, which is the cheap one to read in; else sorted."""

    place: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]

    def images(self) -> list[str]:
        """Return the names of images."""
        return [name for name in self.names if is_image(name)]

    def named(self, file_name: str) -> str | None:
        """Return the file with such a last part, the one that lies highest; None without one."""
        found = [name for name in self.names if PurePosixPath(name).name == file_name]
        return min(found, key=lambda name: (name.count("/"), name), default=None)


def is_image(name: str) -> bool:
    """Return whether a name is that of an image, and not of what macOS leaves beside one."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in _IMAGES and not hidden


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip or a tar, compressed or not."""
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def open_files(path: Path) -> Files:
    """Return the files of a folder or an archive. Raises EvalError for neither, and for names that lead out of it."""
    if path.is_dir():
        return Files(path, tuple(sorted(_below(path))), lambda name: (path / name).read_bytes())
    if not is_archive(path):
        raise EvalError(f"source={path}: neither a folder nor a zip or tar; give one of them")
    try:
        return _zip(path) if zipfile.is_zipfile(path) else _tar(path)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise EvalError(f"source={path}: damaged ({error}); get it anew") from error


def _below(folder: Path) -> list[str]:
    found: list[str] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        # A link to a folder above would be walked for ever.
        real = str(Path(place).resolve())
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in files]
    return found


def _zip(path: Path) -> Files:
    archive = zipfile.ZipFile(path)
    sizes = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
    _check(path, sizes)

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except RuntimeError as error:  # how zipfile says that a member is encrypted
            raise EvalError(f"source={path}: {name}: {error}; unpack it yourself and give the folder") from error
        except zipfile.BadZipFile as error:
            raise EvalError(f"source={path}: {name} is damaged ({error}); get it anew") from error

    return Files(path, tuple(sorted(sizes)), read)


def _tar(path: Path) -> Files:
    archive = tarfile.open(path)  # noqa: SIM115 (read from until the process ends)
    members = {member.name.removeprefix("./"): member for member in archive if member.isreg()}
    _check(path, {name: member.size for name, member in members.items()})

    def read(name: str) -> bytes:
        try:
            stream = archive.extractfile(members[name])
            return stream.read() if stream else b""
        except (tarfile.TarError, EOFError) as error:
            raise EvalError(f"source={path}: {name} is damaged ({error}); get it anew") from error

    return Files(path, tuple(members), read)


def _check(path: Path, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise EvalError(
                f"source={path}: a member is called {name!r}, which leads out of the archive; do not use it"
            )
        if size > _LARGEST and is_image(name):
            raise EvalError(f"source={path}: {name} has {size:,} bytes, which is no image of a data set")
