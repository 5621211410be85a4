"""Texts cut into words, as numbers in an array.

A word is what stands between two spaces; it may be empty, where two spaces follow one another. What is between two
spaces of a spaced text is a run of whole words, so that whoever looks for ` red fox ` can look for two numbers instead
of nine characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MARKS = ",.;:?!`"
"""The marks that are words of their own in a caption."""
_BLOCK_CHARS = 1 << 22
"""Characters worked on at once: few enough for the processor's caches, enough to make each step's own cost small."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """The words of several texts, one text after the other, with a border after each."""

    distinct: list[bytes]
    """The distinct words in UTF-8, each with the space that ends it; the border is one of them."""
    places: Numbers
    """For each word its place in `distinct`."""
    borders: Numbers
    """For each text the index in `places` of the border that ends it."""

    @property
    def border(self) -> int:
        """The place in `distinct` of the border."""
        return int(self.places[-1])

    def texts(self) -> Numbers:
        """For each word, and each border, the number of its text."""
        return np.repeat(np.arange(len(self.borders)), np.diff(self.borders, prepend=-1))


def caption_words(captions: Sequence[str], *, fold: bool) -> Words:
    """Return the words of at least one caption: the seven marks are set apart, tab and line breaks are spaces.

    With `fold` the text is casefolded before anything else.
    """
    joined = _join(caption.replace("\n", " ") for caption in captions).replace("\t", " ").replace("\r", " ")
    if fold:
        # No character's folding depends on its neighbours, nor makes a mark or a space: all texts can be folded as one.
        joined = joined.casefold()
    for mark in MARKS:
        joined = joined.replace(mark, f" {mark} ")
    return _cut(joined)


def plain_words(texts: Sequence[str]) -> Words:
    """Return the words of at least one text as it stands; no text may have a line feed in it."""
    return _cut(_join(texts))


def blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts in order, in slices of a few million characters: what is worked on at once."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK_CHARS, side="right")))
        yield texts[start:stop]
        start = stop


def _join(texts: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(texts) + "\n"


def _cut(joined: str) -> Words:
    import pyarrow as pa

    # The line feed after each text becomes the word that is its border: no caption's word, as theirs are spaces by now.
    data = joined.replace("\n", " \n ").encode("utf-8", "surrogatepass")
    characters = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(characters == ord(" ")) + 1
    offsets = np.concatenate((np.zeros(1, np.int64), ends))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    encoded = pa.Array.from_buffers(pa.large_binary(), len(ends), buffers).dictionary_encode()
    places = encoded.indices.to_numpy().astype(np.int64)
    return Words(encoded.dictionary.to_pylist(), places, np.flatnonzero(places == places[-1]))
