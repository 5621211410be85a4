"""Which entries of a concept bank a caption names: MetaCLIP v1's rule, as the paper uses it (section 3.2).

The rule. Caption: a space at both ends, each of the seven marks `, . ; : ? !` and backtick between two spaces, then
tab, line feed and carriage return become spaces. Entry: a space at both ends. An entry matches where it is a substring
of the caption. Case counts; nothing is normalised; double spaces stay; overlapping entries all match (`red`, `fox`,
`red fox`); an entry counts once a caption. So `"fox"`, `(fox` and `fox's` do not match `fox`.

As a spaced entry begins and ends with a space, matching is equality of whole words, and looked for as such, in arrays
for many captions at once: with all that belongs to it faster than the bare scan of an Aho-Corasick automaton over
characters, which hands over each hit as a Python object (tests/benchmarks/matching.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from synthclip_hpc.config import MATCH_CASES
from synthclip_hpc.curation.word_trie import UNKNOWN, WordTrie
from synthclip_hpc.curation.words import MARKS, Numbers, Words, blocks, caption_words, plain_words
from synthclip_hpc.errors import UserError, nearest

_MARK = f"[{re.escape(MARKS)}]"
_NEVER = re.compile(rf"[\t\n\r]|(?<=[^ ]){_MARK}|{_MARK}(?=[^ ])|{_MARK} (?={_MARK})")
_BLANK = {b" ", *(f"{mark} ".encode() for mark in MARKS)}


class Matcher:
    """Finds the entries of a bank in captions."""

    def __init__(self, entries: Sequence[str], case: str) -> None:
        """Index the entries; `case` is one of `MATCH_CASES`, UserError otherwise.

        500,000 entries take about a second, and 140 MB of which 80 MB stay.
        """
        if case not in MATCH_CASES:
            raise UserError(f"balance.case={case}: valid are {', '.join(MATCH_CASES)}{nearest(case, MATCH_CASES)}")
        self.case = case
        self.num_entries = len(entries)
        never = set(never_matching(entries))
        matching = [place for place in range(len(entries)) if place not in never]
        self._entry_of = np.array(matching, np.uint32)
        phrases = [entries[place] for place in matching]
        if case == "fold":
            phrases = [phrase.casefold() for phrase in phrases]
        self._trie = WordTrie(plain_words(phrases)) if phrases else None

    def match(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        """Return (offsets, entries): caption i matches `entries[offsets[i]:offsets[i + 1]]`, in rising order.

        `offsets` is int64 of length len(texts) + 1 and begins with 0; `entries` is uint32, indices into the bank.
        A caption's matches depend on nothing but itself and the bank.
        """
        if self._trie is None:
            return np.zeros(len(texts) + 1, np.int64), np.empty(0, np.uint32)
        parts = [self._match_block(self._trie, block) for block in blocks(texts)]
        counts = [np.zeros(1, np.int64), *(counts for counts, _ in parts)]
        entries = [np.empty(0, np.uint32), *(entries for _, entries in parts)]
        return np.cumsum(np.concatenate(counts)), np.concatenate(entries)

    def _match_block(self, trie: WordTrie, texts: Sequence[str]) -> tuple[Numbers, npt.NDArray[np.uint32]]:
        """Return for each text the number of its entries, and the entries."""
        words = caption_words(texts, fold=self.case == "fold")
        text_of, numbers = words.texts(), trie.numbers(words)
        at, phrases = trie.find(numbers, np.arange(len(numbers)))
        if self.case == "first-word":
            more_at, more_phrases = _find_lowered(trie, words, text_of, numbers)
            at, phrases = np.concatenate((at, more_at)), np.concatenate((phrases, more_phrases))
        keys = text_of[at] * self.num_entries + self._entry_of[phrases]
        keys.sort()
        if len(keys):
            keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))]
        text, entries = np.divmod(keys, self.num_entries)
        return np.bincount(text, minlength=len(texts)), entries.astype(np.uint32)


def never_matching(entries: Sequence[str]) -> list[int]:
    """Return the places of the entries that no caption can match, in order.

    They hold a tab or a line break, a mark within a word (`St. Louis`), or two marks with one space between them (a
    caption has two there). A mark that is a word of its own does match: `.` every caption with a full stop.
    """
    return [place for place, entry in enumerate(entries) if _NEVER.search(entry)]


def _find_lowered(
    trie: WordTrie, words: Words, text_of: Numbers, numbers: Numbers
) -> tuple[Numbers, npt.NDArray[np.uint32]]:
    """Find what begins at or before the first word of each text, with that word's first character in lower case."""
    blank = np.array([word in _BLANK for word in words.distinct])
    # In a text of nothing but blanks this finds its border, which no phrase has and which is dropped below.
    candidates = np.flatnonzero(~blank[words.places])
    _, first_of_text = np.unique(text_of[candidates], return_index=True)
    first = candidates[first_of_text]
    distinct, kind = np.unique(words.places[first], return_inverse=True)
    lowered = np.array([trie.number(_lower_first(words.distinct[place])) for place in distinct], np.int64)[kind]
    first, lowered = first[lowered != UNKNOWN], lowered[lowered != UNKNOWN]
    changed = numbers.copy()
    changed[first] = lowered
    last_start = np.full(len(words.borders), -1)
    last_start[text_of[first]] = first
    return trie.find(changed, np.flatnonzero(np.arange(len(changed)) <= last_start[text_of]))


def _lower_first(word: bytes) -> bytes:
    text = word.decode("utf-8", "surrogatepass")
    return (text[0].lower() + text[1:]).encode("utf-8", "surrogatepass")
