"""Rasterised artwork, kept: one file a concept in the user's cache, made by whoever needs it first.

A file is the JSON line of its heading and 13 rasters, each packed with LZ4: of flat artwork a twentieth is left, and
unpacking one takes about 10 microseconds. Files appear whole and are checked when they are read, so a damaged one is
made again; of several processes that want a new one, one makes it and the others wait.
"""

from __future__ import annotations

import json
import platform
import sys
import zlib
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from sharding.files import make_directory, replace_file
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.lock import locked
from synthclip_hpc.paths import cache_folder
from synthclip_hpc.rendering.glyphs.raster import Pixels, rasterise_variants
from synthclip_hpc.rendering.glyphs.recipe import NUM_REDRAWS, RECIPE
from synthclip_hpc.rendering.glyphs.styles import Artwork

_CODEC = "lz4_raw"
_NUM_LOCKS = 16
"""Files that are locked while a concept is made: concepts share them, or there would be as many again."""


class ArtworkStore:
    """The rasters of a style's drawings at one size. For one thread."""

    def __init__(self, artwork: Artwork, size: int) -> None:
        """`size`: width and height of a raster in pixels. Nothing is read or made yet."""
        import pyarrow

        self._artwork, self._size, self._arrow = artwork, size, pyarrow
        # Whatever a raster follows from; another kind of processor may round otherwise.
        parts = [artwork.label, f"recipe{RECIPE}", f"redraws{NUM_REDRAWS}", f"{size}px"]
        parts += [f"resvg{version('resvg_py')}", platform.machine()]
        self._folder: Path | None = _opened(cache_folder() / "glyphs" / "-".join(parts))
        self._packed: dict[str, list[bytes]] = {}

    def raster(self, codepoint: str, variant: int) -> Pixels:
        """Return (size, size, 4) uint8 premultiplied RGBA, read-only, of a drawing (0) or one of its redraws.

        The first call for a drawing makes it and all of its redraws, about 0.1 s at 256 pixels, unless they are in the
        cache. Raises UserError when the style's package lacks the drawing or has a damaged one.
        """
        if codepoint not in self._packed:
            self._packed[codepoint] = self._load(codepoint)
        num_bytes = self._size * self._size * 4
        unpacked = self._arrow.decompress(self._packed[codepoint][variant], num_bytes, codec=_CODEC)
        return np.frombuffer(unpacked, np.uint8).reshape(self._size, self._size, 4)

    def _load(self, codepoint: str) -> list[bytes]:
        if self._folder is None:
            return self._make(codepoint)
        path = self._folder / codepoint
        if (packed := _read(path)) is None:
            with locked(self._folder / f".lock{int(codepoint, 16) % _NUM_LOCKS}"):
                if (packed := _read(path)) is None:
                    packed = self._make(codepoint)
                    self._keep(path, packed)
        return packed

    def _make(self, codepoint: str) -> list[bytes]:
        path = self._artwork.path(codepoint)
        try:
            variants = rasterise_variants(path.read_text(encoding="utf-8"), int(codepoint, 16), self._size)
        except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: XML's ParseError is one
            style = self._artwork.style
            raise UserError(
                f"render.style={style.name}: {path} cannot be drawn ({error}); "
                f"install it again: pip install --force-reinstall --no-deps {style.package}=={self._artwork.version}"
            ) from error
        return [self._arrow.compress(pixels.tobytes(), codec=_CODEC, asbytes=True) for pixels in variants]

    def _keep(self, path: Path, packed: list[bytes]) -> None:
        body = b"".join(packed)
        heading = json.dumps({"crc32": zlib.crc32(body), "sizes": [len(part) for part in packed]})
        try:
            replace_file(path, heading.encode() + b"\n" + body)
        except OSError as error:
            _tell_uncached(path, error)
            self._folder = None


def _opened(folder: Path) -> Path | None:
    """Return the folder, private to the user, or None where it cannot be made."""
    try:
        make_directory(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        with locked(folder / ".lock0"):
            return folder
    except OSError as error:
        _tell_uncached(folder, error)
        return None


def _tell_uncached(path: Path, error: OSError) -> None:
    # A full or read-only home must not end a job whose pictures come out the same.
    print(
        f"render: artwork cannot be kept in {path} ({error.strerror}), so every worker makes its own, which takes it "
        "seconds; set SYNTHCLIP_CACHE to a folder with room",
        file=sys.stderr,
        flush=True,
    )


def _read(path: Path) -> list[bytes] | None:
    """Return a file's packed rasters; None when there is none, or it is not what was written."""
    try:
        heading, _, body = path.read_bytes().partition(b"\n")
        told = json.loads(heading)
        borders = [0, *accumulate(told["sizes"])]
        whole = borders[-1] == len(body) and len(told["sizes"]) == 1 + NUM_REDRAWS
        if not whole or told["crc32"] != zlib.crc32(body):
            return None
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return [body[start:end] for start, end in pairwise(borders)]
