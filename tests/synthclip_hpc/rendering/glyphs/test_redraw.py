"""Redraws of an SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from synthclip_hpc.rendering.glyphs.recipe import NUM_REDRAWS
from synthclip_hpc.rendering.glyphs.redraw import OUTLINE_WIDTHS, RECOLOURINGS, add_outline, redraw

SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 36 36">
<path fill="#DD2E44" d="M0 0h36v36H0z"/><circle fill="#292F33" cx="9" cy="9" r="2"/>
<g fill="#fc4"><path d="M0 0h3v3z"/></g><path fill="#DD2E44" d="M1 1h2v2z"/>
<path fill="none" stroke="#000" stroke-width="2" d="M0 0h36"/><path stroke="none" d="M0 0h1v1z"/></svg>"""


def fills(number: int, seed: int = 5) -> list[str]:
    found = [element.get("fill") for element in redraw(SVG, seed, number).root.iter()]
    return [fill for fill in found if fill is not None]


def recoloured(name: str) -> list[str]:
    return fills(RECOLOURINGS.index(name))


def gray(colour: str) -> bool:
    return colour == "none" or colour[1:3] == colour[3:5] == colour[5:7]


def test_each_recolouring_does_what_its_name_says() -> None:
    before = ["#DD2E44", "#292F33", "#fc4", "#DD2E44", "none"]
    assert recoloured("none") == ["#DD2E44", "#292F33", "#ffcc44", "#DD2E44", "none"]
    assert recoloured("white") == ["#ffffff", "#292F33", "#ffffff", "#ffffff", "none"]
    assert all(gray(fill) for fill in recoloured("gray")) and "none" in recoloured("gray")
    for name in ("jitter", "hue", "random"):
        after = recoloured(name)
        assert after[0] == after[3] != before[0]
        assert after[2] != before[2] and after[4] == "none"
    assert recoloured("random")[1] == "#292F33"


def test_black_lines_stay_black() -> None:
    for number in range(NUM_REDRAWS):
        strokes = [element.get("stroke") for element in redraw(SVG, 5, number).root.iter()]
        assert strokes.count("#000") == 1


def test_two_thirds_or_more_are_outlined_and_flat_ones_always() -> None:
    outlines = [redraw(SVG, seed, number).outline for seed in range(50) for number in range(NUM_REDRAWS)]
    assert all(outline == 0 or OUTLINE_WIDTHS[0] <= outline < OUTLINE_WIDTHS[1] for outline in outlines)
    # 70 % of four kinds, all of two.
    assert 0.76 < sum(outline > 0 for outline in outlines) / len(outlines) < 0.84
    flat = [redraw(SVG, seed, RECOLOURINGS.index("white")).outline for seed in range(50)]
    assert min(flat) > 0


def test_an_outline_gives_every_shape_a_black_stroke_of_one_width() -> None:
    root = ElementTree.fromstring(SVG)
    add_outline(root, 1.5)
    assert (root.get("stroke"), root.get("stroke-width")) == ("#000", "1.5000")
    below = list(root.iter())[1:]
    assert {element.get("stroke") for element in below} == {None, "#000"}
    assert {element.get("stroke-width") for element in below} == {None, "1.5000"}


def test_a_redraw_is_always_the_same_and_no_other() -> None:
    texts = [ElementTree.tostring(redraw(SVG, 5, number).root) for number in range(NUM_REDRAWS)]
    assert texts == [ElementTree.tostring(redraw(SVG, 5, number).root) for number in range(NUM_REDRAWS)]
    assert fills(1, seed=5) != fills(1, seed=6)


@pytest.mark.parametrize("svg", ["", "<svg", "no svg"])
def test_what_is_no_xml_is_refused(svg: str) -> None:
    with pytest.raises(ElementTree.ParseError):
        redraw(svg, 1, 0)
