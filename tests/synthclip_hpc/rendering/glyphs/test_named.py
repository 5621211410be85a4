"""Which drawings a caption calls for."""

from __future__ import annotations

import pytest

from synthclip_hpc.errors import UserError
from synthclip_hpc.rendering.glyphs.named import NamedDrawings, read_emoji


def find(caption: str, case: str = "exact") -> list[str]:
    return NamedDrawings(list(read_emoji()), case).find([caption])[0]


@pytest.mark.parametrize(
    ("caption", "drawn"),
    [
        ("a fox", ["fox"]),
        ("a goat and a jar", ["goat", "jar"]),
        ("a jar and a goat", ["jar", "goat"]),
        ("a fire engine", ["fire engine"]),
        ("a fire engine at a fire, really", ["fire engine", "fire"]),
        ("a fire extinguisher.", ["fire extinguisher"]),
        ("hot dog, dog", ["hot dog", "dog"]),
        ("an ice cream", ["ice cream"]),
        ("bell pepper bell", ["bell pepper", "bell"]),
        ("a fox and a fox and a hen", ["fox"]),
        ("fox, owl, bat, cat", ["fox", "owl", "bat"]),
        ("foxes and (fox", []),
        ("", []),
    ],
)
def test_the_longest_names_in_the_order_of_the_caption(caption: str, drawn: list[str]) -> None:
    assert find(caption) == drawn


def test_case_is_that_of_balancing() -> None:
    assert find("Fox and Owl and bat") == ["bat"]
    assert find("Fox and Owl and bat", "first-word") == ["fox", "bat"]
    assert find("Fox and Owl and bat", "fold") == ["fox", "owl", "bat"]
    with pytest.raises(UserError, match=r"balance\.case=folded"):
        find("a fox", "folded")


def test_captions_do_not_mix() -> None:
    captions = ["a fox", "nothing", "an owl and a fox"]
    assert NamedDrawings(["fox", "owl"], "exact").find(captions) == [["fox"], [], ["owl", "fox"]]
    assert NamedDrawings(["fox", "owl"], "exact").find([]) == []


def test_every_concept_of_the_bank_is_found() -> None:
    concepts = list(read_emoji())
    found = NamedDrawings(concepts, "exact").find([f"a photo of a {concept}." for concept in concepts])
    assert found == [[concept] for concept in concepts]
    assert len(found) == 446
