"""From the entries of a list to distinct, normalised concepts; whatever is none is counted with its reason.

Normalised = Unicode NFC, white space runs folded to one space, ends stripped. Case is kept: MetaCLIP's matching, which
balancing follows, is case-sensitive. Characters that show nothing are kept, too: some scripts need some of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

MAX_CONCEPT_CHARACTERS = 256
_NONCHARACTERS = r"\ufdd0-\ufdef" + "".join(
    f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17)
)
# The controls C0 and C1 without those that are white space (tab, line ends, U+0085), and what Unicode never assigns.
# Lone surrogates come from a JSON escape such as "\ud800": no file could hold them.
_UNUSABLE = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff{_NONCHARACTERS}]")
_WHITE_SPACE = re.compile(r"\s+")
_JOINERS = "\u200c\u200d"
# Not of Unicode's category Cf, and without a picture all the same: combining joiner, fillers, variation selectors.
_INVISIBLE = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


class Distinct(NamedTuple):
    """Concepts in the order of their first entry, and what became of the other entries."""

    concepts: list[str]
    rejects: Counter[str]
    """Reason -> entries: `duplicate`, `empty`, `too_long`, `control_character`, `broken_unicode`."""
    entries_read: int
    """Entries in = concepts + rejects."""


def distinct(entries: Iterable[str]) -> Distinct:
    """Normalise every entry; it is a concept, a duplicate of an earlier one, or a reject with its reason."""
    seen: dict[str, None] = {}
    rejects: Counter[str] = Counter()
    entries_read = 0
    for entry in entries:
        entries_read += 1
        if entry.isascii() and entry.isprintable() and "  " not in entry:
            concept = entry.strip()
        elif unusable := _UNUSABLE.search(entry):
            rejects["broken_unicode" if "\ud800" <= unusable[0] <= "\udfff" else "control_character"] += 1
            continue
        else:
            concept = _WHITE_SPACE.sub(" ", unicodedata.normalize("NFC", entry)).strip()
        if not concept:
            rejects["empty"] += 1
        elif len(concept) > MAX_CONCEPT_CHARACTERS:
            rejects["too_long"] += 1
        elif concept in seen:
            rejects["duplicate"] += 1
        else:
            seen[concept] = None
    return Distinct(list(seen), rejects, entries_read)


def comparable(concept: str) -> str:
    """Return what a concept is compared by: without case, and without any character that shows nothing.

    Such as a zero-width space or a soft hyphen; joiners, too, which some scripts need, and which hide in others. Empty
    for a concept of nothing else.
    """
    if concept.isascii():
        return concept.casefold()
    seen = "".join(character for character in concept if unicodedata.category(character) != "Cf")
    return _WHITE_SPACE.sub(" ", unicodedata.normalize("NFC", _INVISIBLE.sub("", seen).casefold())).strip()


def shown(text: str) -> str:
    """Return a text from a bank as a terminal may have it: what would steer or hide something is escaped.

    Joiners stay: words of some scripts, and emoji, fall apart without them.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in _JOINERS else ascii(one)[1:-1] for one in text)


def tell_rejects(rejects: dict[str, int]) -> str:
    """Return counts by reason as words, such as `2 duplicates, 1 too long`; an empty text when there are none."""
    told = []
    for reason, count in sorted(rejects.items()):
        plural = "s" if reason == "duplicate" and count > 1 else ""
        told.append(f"{count:,} {reason.replace('_', ' ')}{plural}")
    return ", ".join(told)
