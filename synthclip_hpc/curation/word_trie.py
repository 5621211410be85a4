"""Phrases as a trie whose letters are words; finding all that occur in a long row of words, in numpy.

A state stands for the first words of at least one phrase. A word's number is also the state after that word alone;
longer states come from a sorted table of (state, next word). All places of a text where a phrase may begin are walked
at once, one word a step, and each step keeps the places that can still become a phrase: in captions, a quarter after
the first word and hardly any after the third.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synthclip_hpc.curation.words import Numbers, Words

UNKNOWN = -1
"""The number of a word that no phrase has, and of a border."""
_SLOTS_PER_EDGE = 8


class WordTrie:
    """An index of phrases; several phrases may be the same."""

    def __init__(self, phrases: Words) -> None:
        """Build it; the value of a phrase is its number among the texts of `phrases`."""
        starts = np.concatenate((np.zeros(1, np.int64), phrases.borders[:-1] + 1))
        lengths = phrases.borders - starts
        self.max_words = int(lengths.max())
        self._numbers = {word: number for number, word in enumerate(phrases.distinct) if number != phrases.border}
        self._num_words = len(phrases.distinct)
        self._edges = np.empty(0, np.int64)
        self._targets = np.empty(0, np.int64)
        state = phrases.places[starts]
        num_states = self._num_words
        for step in range(1, self.max_words):
            longer = np.flatnonzero(lengths > step)
            keys = state[longer] * self._num_words + phrases.places[starts[longer] + step]
            new_edges, target = np.unique(keys, return_inverse=True)
            self._edges = np.concatenate((self._edges, new_edges))
            self._targets = np.concatenate((self._targets, num_states + np.arange(len(new_edges))))
            state[longer] = num_states + target
            num_states += len(new_edges)
        self._sort_edges(num_states)
        self._values = np.argsort(state, kind="stable").astype(np.uint32)
        self._num_values = np.bincount(state, minlength=num_states).astype(np.uint32)
        self._first_value = (np.cumsum(self._num_values, dtype=np.int64) - self._num_values).astype(np.uint32)
        self._most_values = int(self._num_values.max())

    def _sort_edges(self, num_states: int) -> None:
        order = np.argsort(self._edges)
        self._edges, self._targets = self._edges[order], self._targets[order]
        origins, words = np.divmod(self._edges, self._num_words)
        self._goes_on = np.zeros(num_states, bool)
        self._goes_on[origins] = True
        self._follows = np.zeros(self._num_words, bool)
        self._follows[words] = True
        # Most pairs of words that are asked for are no edge. One look into a table that says "perhaps" is far cheaper
        # than a search, which is left for those that pass.
        num_bits = max(1, (_SLOTS_PER_EDGE * len(self._edges)).bit_length())
        self._shift = np.uint64(64 - num_bits)
        self._perhaps = np.zeros(1 << num_bits, bool)
        self._perhaps[self._slots(self._edges)] = True

    def _slots(self, keys: Numbers) -> npt.NDArray[np.intp]:
        """Fibonacci hashing: the upper bits of a product."""
        return ((keys.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> self._shift).astype(np.intp)

    def number(self, word: bytes) -> int:
        """Return the number of a word (in UTF-8, with its closing space), UNKNOWN when no phrase has it."""
        return self._numbers.get(word, UNKNOWN)

    def numbers(self, words: Words) -> Numbers:
        """Return for each word of a text its number, UNKNOWN for borders."""
        get = self._numbers.get
        known = np.fromiter((get(word, UNKNOWN) for word in words.distinct), np.int64, len(words.distinct))
        return known[words.places]

    def find(self, numbers: Numbers, starts: Numbers) -> tuple[Numbers, npt.NDArray[np.uint32]]:
        """Return (index of the first word, value) of every phrase that begins at one of `starts`, in no set order.

        `numbers` ends with UNKNOWN, and `starts` are indices into it.
        """
        at = starts[numbers[starts] != UNKNOWN]
        state = numbers[at]
        found_at, found = [], []
        step = 0
        while len(at):
            num_values = self._num_values[state]
            for rank in range(self._most_values):
                ends = np.flatnonzero(num_values > rank)
                found_at.append(at[ends])
                found.append(self._values[self._first_value[state[ends]] + rank])
            step += 1
            at, state = self._go_on(numbers, at, state, step)
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.uint32)
        return np.concatenate(found_at), np.concatenate(found)

    def _go_on(self, numbers: Numbers, at: Numbers, state: Numbers, step: int) -> tuple[Numbers, Numbers]:
        kept = np.flatnonzero(self._goes_on[state])
        at, state = at[kept], state[kept]
        # Within the array: the last of `numbers` is UNKNOWN and no walk goes on from there.
        word = numbers[at + step]
        kept = np.flatnonzero((word != UNKNOWN) & self._follows[word])
        at, keys = at[kept], state[kept] * self._num_words + word[kept]
        kept = np.flatnonzero(self._perhaps[self._slots(keys)])
        at, keys = at[kept], keys[kept]
        edge = np.searchsorted(self._edges, keys)
        kept = np.flatnonzero(self._edges[np.minimum(edge, len(self._edges) - 1)] == keys)
        return at[kept], self._targets[edge[kept]]
