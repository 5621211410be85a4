"""The `glyphs` renderer: pictures that follow from caption and seed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synthclip_hpc.rendering.glyphs.renderer import GlyphsRenderer
from synthclip_hpc.rendering.glyphs.wording import BACKGROUNDS
from synthclip_hpc.rendering.renderer import Picture, Request

pytest.importorskip("cv2")
pytest.importorskip("resvg_py")

CAPTIONS = [
    "a fox",
    "a goat and a jar",
    "no such thing",
    "a fox on red",
    "a black and white photo of an owl.",
    "a blurry photo of the fox.",
    "a pixelated photo of the fox.",
    "a photo of many fox.",
    "fox, owl and goat",
]
REQUESTS = [Request(caption, 1000 + number) for number, caption in enumerate(CAPTIONS * 4)]
IN_A_PROCESS = """
import json, sys
from synthclip_hpc.rendering.glyphs.renderer import GlyphsRenderer
from synthclip_hpc.rendering.renderer import Request
from tests.synthclip_hpc.rendering.glyphs.test_glyphs_renderer import digests
style, requests = json.loads(sys.argv[1])
renderer = GlyphsRenderer(style, 64, 0.5, "exact")
print(json.dumps(digests(renderer.draw([Request(*request) for request in requests]))))
"""


def digests(pictures: list[Picture]) -> list[str]:
    return ["" if one.pixels is None else hashlib.sha256(one.pixels.tobytes()).hexdigest() for one in pictures]


def pixels_of(picture: Picture) -> np.ndarray:
    assert picture.pixels is not None
    return picture.pixels


@pytest.fixture(scope="module")
def renderer(shared_cache: Path) -> GlyphsRenderer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHCLIP_CACHE", str(shared_cache))
        return GlyphsRenderer("twemoji", 64, 0.5, "exact")


@pytest.mark.parametrize("style", ["twemoji", "openmoji"])
def test_the_same_bytes_in_any_batch_order_and_process_and_with_an_empty_cache(style: str, tmp_path: Path) -> None:
    renderer = GlyphsRenderer(style, 64, 0.5, "exact")
    at_once = digests(renderer.draw(REQUESTS))
    assert [digest for request in REQUESTS for digest in digests(renderer.draw([request]))] == at_once
    assert digests(GlyphsRenderer(style, 64, 0.5, "exact").draw(REQUESTS[::-1]))[::-1] == at_once
    words = [sys.executable, "-c", IN_A_PROCESS, json.dumps([style, REQUESTS])]
    elsewhere = subprocess.run(
        words,
        cwd=Path(__file__).parents[4],
        env={"SYNTHCLIP_CACHE": str(tmp_path), "PYTHONPATH": "."},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert json.loads(elsewhere.stdout) == at_once
    assert at_once.count("") == 4 and len(set(at_once)) == 33


def test_the_seed_alone_makes_another_picture(renderer: GlyphsRenderer) -> None:
    pictures = renderer.draw([Request("a fox", seed) for seed in (0, 1, 2, 2**63 - 1)])
    assert len(set(digests(pictures))) == 4
    assert digests(renderer.draw([Request("a fox", 1)])) == digests(pictures[1:2])


def test_a_caption_without_an_emoji_is_rejected_for_good(renderer: GlyphsRenderer) -> None:
    (picture,) = renderer.draw([Request("nothing of the kind", 3)])
    assert picture.pixels is None
    assert (picture.reject_reason, picture.may_retry) == ("no_artwork", False)
    assert renderer.draw([]) == []


@pytest.mark.parametrize("size", [32, 64, 100, 1024])
def test_pictures_have_the_size_and_something_on_them(size: int) -> None:
    (picture,) = GlyphsRenderer("twemoji", size, 0.0, "exact").draw([Request("a fox", 5)])
    pixels = pixels_of(picture)
    assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
    foreground = (np.abs(pixels.astype(int) - pixels[0, 0]).max(axis=2) > 40).mean()
    assert 0.1 < foreground < 0.9


def test_facts_have_the_same_keys_and_types(renderer: GlyphsRenderer) -> None:
    assert set(renderer.facts) == {"renderer", "model", "revision", "steps", "guidance"}
    assert str(renderer.facts["model"]).startswith("twemoji-")
    drawn = [picture.facts for picture in renderer.draw(REQUESTS)]
    assert drawn[0]["drawn"] == ["fox"] and drawn[1]["drawn"] == ["goat", "jar"] and drawn[2]["drawn"] == []
    assert {tuple((key, type(value)) for key, value in facts.items()) for facts in drawn} == {
        (("drawn", list), ("redrawn", int))
    }


def test_none_or_all_of_the_drawings_are_redrawn() -> None:
    captions = [Request("a fox and an owl", seed) for seed in range(6)]
    for share, count in ((0.0, 0), (1.0, 2)):
        pictures = GlyphsRenderer("twemoji", 32, share, "exact").draw(captions)
        assert [picture.facts["redrawn"] for picture in pictures] == [count] * 6


def test_words_show_in_the_pixels(renderer: GlyphsRenderer) -> None:
    for seed in range(8):
        red, gray, coarse, dark, bright = (
            pixels_of(picture).astype(int)
            for picture in renderer.draw(
                [
                    Request("a small fox on red", seed),
                    Request("a black and white photo of a fox", seed),
                    Request("a pixelated photo of a fox", seed),
                    Request("a dark photo of a fox", seed),
                    Request("a bright photo of a fox", seed),
                ]
            )
        )
        edge = np.concatenate([red[0], red[-1], red[:, 0], red[:, -1]])
        # The colour that was asked for, its jitter, and the far side of a gradient.
        assert np.abs(np.median(edge, axis=0) - BACKGROUNDS["red"]).max() <= 12 + 45
        assert (gray == gray[..., :1]).all()
        assert len(np.unique(coarse.reshape(-1, 3), axis=0)) < 41 * 41
        assert dark.max() <= 141 and bright.min() >= 114


def test_drawings_fill_their_place_in_both_styles_alike() -> None:
    """The styles leave borders of different widths; with them, one style would be a smaller-looking copy."""
    spans = {}
    for style in ("twemoji", "openmoji"):
        pictures = GlyphsRenderer(style, 128, 0.0, "exact").draw(
            [Request(f"a {concept} on white", 11) for concept in ("fox", "door", "pizza", "star", "anchor", "tooth")]
        )
        found = []
        for picture in pictures:
            shown = np.abs(pixels_of(picture).astype(int) - pixels_of(picture)[0, 0]).max(axis=2) > 50
            found.append(max(np.ptp(np.flatnonzero(shown.any(axis=axis))) for axis in (0, 1)))
        spans[style] = np.median(found)
    assert abs(spans["twemoji"] - spans["openmoji"]) < 0.12 * 128
