"""Quotes around a whole text, told from quotes within it."""

from __future__ import annotations

_CLOSING = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "»": "«", "„": "“", "‹": "›", "「": "」", "『": "』"}
_PARTNERS = {'"': '"', "“": "”", "”": "“", "«": "»", "»": "«"}
"""Quotes that are nothing but quotes: one without its partner can go. `'` and `’` are apostrophes, too."""
_SENTENCE_MARKS = (".", "!", "?", "…")


def without_quotes(text: str) -> str:
    """Strip one pair of quotes around the whole text, or one at an end that opens or closes nothing."""
    closing = _CLOSING.get(text[:1])
    if closing:
        core = text.removesuffix(".")
        for whole in (text, core):
            if len(whole) > 1 and whole.endswith(closing) and not _closes_early(whole[1:-1], text[0], closing):
                inner = whole[1:-1].strip()
                # A full stop after the closing quote belongs to the sentence as well as one before it.
                return inner if whole is text or inner.endswith(_SENTENCE_MARKS) else inner + "."
    if text[:1] in _PARTNERS and _is_lone(text, text[0]):
        return text[1:].strip()
    if text[-1:] in _PARTNERS and _is_lone(text, text[-1]) and not text[-2:-1].isdigit():  # 5" is five inches
        return text[:-1].strip()
    return text


def _is_lone(text: str, mark: str) -> bool:
    partner = _PARTNERS[mark]
    return text.count(mark) == 1 and (partner == mark or partner not in text)


def _closes_early(inner: str, opening: str, closing: str) -> bool:
    """Tell `"Go" and "stop"`, where the first pair ends inside, from one pair around a text with others in it."""
    depth = 0
    for place, character in enumerate(inner):
        if character not in (opening, closing):
            continue
        before, after = inner[place - 1 : place] if place else "", inner[place + 1 : place + 2]
        if character in "'’" and before.isalnum() and after.isalnum():
            continue  # an apostrophe
        opens = character == opening if opening != closing else not before or before.isspace() or before in "(["
        depth += 1 if opens else -1
        if depth < 0:
            return True
    return depth > 0
