"""Which drawings a caption calls for: the entries of the emoji bank that it names."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from itertools import pairwise

from synthclip_hpc.captioning.banks.listing import read_listing
from synthclip_hpc.curation.matching import Matcher
from synthclip_hpc.curation.words import MARKS

MAX_DRAWINGS = 3


def read_emoji() -> dict[str, str]:
    """Return the code point, in hexadecimal, of each concept of the emoji bank, in the bank's order."""
    text = (resources.files("synthclip_hpc") / "captioning" / "banks" / "emoji.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return {concept: codepoint for concept, codepoint, _ in rows}


def read_demo_classes() -> list[str]:
    """Return the 100 concepts of the emoji bank that models of a few minutes can tell apart, in the bank's order."""
    return list(read_listing("concepts.bank", "emoji-demo").entries)


class NamedDrawings:
    """Finds the concepts that captions name, by the rule that balancing counts by (paper, section 3.2)."""

    def __init__(self, concepts: Sequence[str], case: str) -> None:
        """`case` is one of `MATCH_CASES`, UserError otherwise."""
        self._concepts = concepts
        self._matcher = Matcher(concepts, case)

    def find(self, captions: Sequence[str]) -> list[list[str]]:
        """Return for each caption the concepts to draw, at most `MAX_DRAWINGS`, in the order of the caption.

        Where names share words the longer one wins: `fire engine` draws no `fire`, unless there is one elsewhere.
        """
        offsets, places = self._matcher.match(captions)
        found = [self._concepts[place] for place in places.tolist()]
        spans = pairwise(offsets.tolist())
        return [_in_order(caption, found[start:end]) for caption, (start, end) in zip(captions, spans, strict=True)]


def _in_order(caption: str, concepts: Sequence[str]) -> list[str]:
    if len(concepts) < 2:
        return list(concepts)
    text = _spaced(caption)
    taken: list[tuple[int, int, str]] = []
    for concept in sorted(concepts, key=len, reverse=True):
        needle = f" {concept} "
        start = text.find(needle)
        while start >= 0:
            # Both ends without the space that two neighbours share.
            first, last = start + 1, start + 1 + len(concept)
            if all(last <= begin or first >= end for begin, end, _ in taken):
                taken.append((first, last, concept))
            start = text.find(needle, last)
    return list(dict.fromkeys(concept for _, _, concept in sorted(taken)))[:MAX_DRAWINGS]


def _spaced(caption: str) -> str:
    text = f" {caption} "
    for mark in MARKS:
        text = text.replace(mark, f" {mark} ")
    return text.replace("\t", " ").replace("\n", " ").replace("\r", " ").casefold()
