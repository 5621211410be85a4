"""From the entries of a list to distinct, normalised concepts; whatever is none is counted with its reason.

Normalised = Unicode NFC, white space runs folded to one space, ends stripped. Case is kept: MetaCLIP's matching, which
balancing follows, is case-sensitive.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

MAX_CONCEPT_CHARACTERS = 256
# Lone surrogates come from a JSON escape such as "\ud800": no file could hold them.
_UNUSABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_WHITE_SPACE = re.compile(r"\s+")


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
            rejects["broken_unicode" if unusable[0] >= "\ud800" else "control_character"] += 1
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


def tell_rejects(rejects: dict[str, int]) -> str:
    """Return counts by reason as words, such as `2 duplicates, 1 too long`; an empty text when there are none."""
    told = []
    for reason, count in sorted(rejects.items()):
        plural = "s" if reason == "duplicate" and count > 1 else ""
        told.append(f"{count:,} {reason.replace('_', ' ')}{plural}")
    return ", ".join(told)
