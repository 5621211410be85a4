"""Where a sentence ends: a rule of thumb for captions in any script; it keeps too much rather than too little."""

from __future__ import annotations

import re

MIN_WORDS = 3
"""Shorter sentences at the beginning are headings, if a longer one follows."""

_END = re.compile(r"[.!?…।؟۔]+[\"'“”’»)\]*]*(?=\s)|[。！？]+(?=[^\s。！？」』”’\")）])")
_ABBREVIATION = re.compile(
    r"""(?:
        \b(?:St|Ste|Dr|Mr|Mrs|Ms|Mx|Prof|Jr|Sr|vs|Mt|Ft|Inc|Ltd|Co|Corp|Ave|Blvd|Rd|Capt|Cpt|Col|Gen|Lt|Maj|Sgt|Rev|Hon|Gov|Sen
            |Rep|Pres|Sta|Nr|ca|cf|approx|etc|e\.g|i\.e|Fig|Vol|Feat|feat|incl|dept|est)
        | (?<![\w'’])[^\W\d_]      # an initial: "J. K. Rowling", "U.S. Army", "9 p.m."
    )\.$""",
    re.VERBOSE,
)
_LONGEST = 12
"""More characters than any abbreviation has."""
_NUMBER_SIGN = re.compile(r"\b[Nn]os?\.$")
_PAIRS = (("“", "”"), ("«", "»"), ("(", ")"), ("[", "]"), ("「", "」"), ("『", "』"))


def one_sentence(text: str) -> str:
    """Return the first sentence of at least `MIN_WORDS` words, or the first of all when each is shorter.

    Words are what white space separates. A mark ends a sentence when white space follows (or any character after the
    full-width marks), unless what goes on begins with a small letter, or what comes before is an abbreviation, an
    initial, or has a quote or bracket still open.
    """
    first = ""
    start = 0
    for match in _END.finditer(text):
        end = match.end()
        if not _ends(text, start, match.start(), end):
            continue
        sentence = text[start:end].strip()
        if _num_words(sentence) >= MIN_WORDS:
            return sentence
        first = first or sentence
        start = end
    last = text[start:].strip()
    return last if not first or _num_words(last) >= MIN_WORDS else first


def _ends(text: str, start: int, mark: int, end: int) -> bool:
    if not text[:mark] or text[mark - 1].isspace():
        return False  # " ..." stands between words
    rest = text[end:].lstrip()
    if rest.lstrip("\"'“‘«([¿¡*").strip()[:1].islower():
        return False
    before = text[max(start, mark - _LONGEST) : mark + 1]
    if before.endswith(".") and (_ABBREVIATION.search(before) or (rest[:1].isdigit() and _NUMBER_SIGN.search(before))):
        return False
    sentence = text[start:end]
    return sentence.count('"') % 2 == 0 and all(sentence.count(left) <= sentence.count(right) for left, right in _PAIRS)


def _num_words(text: str) -> int:
    return len(text.split())
