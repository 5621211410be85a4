"""Which cleaned captions are not usable, and why.

The checks look at form, not at worth: a dull or untrue caption passes. A change of them changes which captions are
asked for again: raise `cleaning.RULES_VERSION` with it.
"""

from __future__ import annotations

import re
from collections import Counter

EMPTY = "empty"
"""Nothing is left after the clean-up."""
NO_LETTERS = "no_letters"
"""Only digits, marks or pictures; a letter of any script counts."""
REFUSAL = "refusal"
"""It begins like a model that declines: "I'm sorry, but", "I cannot provide", "As an AI language model"."""
ECHO = "echo"
"""It talks about the task: repeats the instructions, or offers its help."""
LOOP = "loop"
"""A word or two words three times running; three words in three places or more, if that is half of all words; or within
one word the same piece of two letters or more four times running (so it looks in scripts without spaces)."""
TOO_LONG = "too_long"
"""More words than allowed; words are what white space separates."""
CONCEPT_MISSING = "concept_missing"
"""The concept is not in it as a whole word or words, upper and lower case taken for the same."""

REASONS = (EMPTY, NO_LETTERS, REFUSAL, ECHO, LOOP, TOO_LONG, CONCEPT_MISSING)
"""All reasons, in the order in which they are looked for: the first that holds is told."""

_VERBS = (
    r"(?:provide|create|generate|write|fulfil+|assist|describe|comply|produce|continue|complete|answer|engage|offer"
    r"|support|respond|meet|give|make|do\s+(?:that|this|so)|include|perform|process|discuss|promote|access|be\s+able"
    # "I can't help falling in love" and "I can't see the forest for the trees" decline nothing.
    r"|help(?!\s+(?:but|\w+ing)\b)|see\s+(?:\w+\s+){0,2}?(?:images?|pictures?|photos?|photographs?|files?|attachments?|you)|see(?=\W*$))"
)
_REFUSAL = re.compile(
    rf"""
    (?:no|oh|well|hello|hi)?[,.!]?\s*
    (?:
        i\s+am\s+(?:really\s+|very\s+|so\s+|truly\s+|deeply\s+)?
            (?:sorry\b|afraid\s+(?:that\s+)?(?:i|we)\b|unable\s+to\b|not\s+(?:able|capable|comfortable|allowed|programmed)\b
            |(?:just\s+|only\s+)?an?\s+(?:\w+[\s-]+){{0,3}}(?:ai|language\s+model|chatbot|virtual\s+assistant)\b)
      | (?:i|we)\s+(?:cannot|can\s?not|can'?t|could\s?n't|could\s+not|won't|will\s+not|do\s+not|don't
            |am\s+unable\s+to)\s+(?:\w+ly\s+|in\s+good\s+conscience\s+)?
            (?:{_VERBS}|(?:have|understand)\s+(?:access|enough|any|the|a|personal|information|what))\b
      | as\s+an?\s+(?:\w+[\s-]+){{0,3}}(?:language\s+model|(?:ai|artificial\s+intelligence)
            (?:\s*,|\s+(?:model|assistant|text|system|developed|designed|created|trained|language|i)\b))
      | sorry(?:\s*[,.!]|\s+but\b|\s+i\b) | (?:my\s+|i\s+)?apologi[esz]+\b
      | unfortunately,?\s+(?:i|we|it|as)\b
      | it\s+(?:is|would\s+be|'s)\s+not\s+(?:appropriate|possible\s+(?:for\s+me|to\s+(?:write|create|generate)))\b
    )""",
    re.VERBOSE,
)
_ECHO = (
    *("image caption", "this caption", "caption that", "captions that", "caption should", "word caption"),
    *("includes and visually", "visually describes", "around a concept", "around the concept", "concept list"),
    *("my concept", "your concept", "your task", "my task", "grammatically correct", "word count", "single sentence"),
    *("than 15 words", "of 15 words", "text-to-image", "image generator", "dall-e", "language model", "smollm"),
    *("this sentence", "your response", "i was tasked", "scene described above", "i am writing", "i am here to"),
    *("i am happy to", "i am ready", "i am excited to", "i am glad to", "i am thrilled to", "i am pleased to"),
)
"""Words of the built-in prompts, and how chat models speak of themselves. Captions of photographs hardly have them."""
_HEBREW = 0x0590
_SEPARATORS = re.compile(r"[\s.,;:!?…。、，！？；：\"“”«»()\[\]–—-]+")
_PIECES = re.compile(r"([^\W\d_]{2,20}?)\1{3}")


def reject_reason(caption: str, concept: str, *, max_words: int, require_concept: bool) -> str | None:
    """Return the first of `REASONS` that holds for a cleaned caption, or None when it is usable.

    `max_words=0` allows any length. Without `require_concept` the concept does not matter.
    """
    if not caption.strip():
        return EMPTY
    if not any(map(str.isalpha, caption)):
        return NO_LETTERS
    folded = caption.casefold().replace("’", "'").replace("i'm ", "i am ")
    if _REFUSAL.match(folded):
        return REFUSAL
    if any(phrase in folded for phrase in _ECHO):
        return ECHO
    if _loops(folded):
        return LOOP
    if max_words and len(caption.split()) > max_words:
        return TOO_LONG
    if require_concept and not _names(caption, concept):
        return CONCEPT_MISSING
    return None


def _loops(folded: str) -> bool:
    words = [word for word in _SEPARATORS.split(folded) if word]
    # Each kind of loop needs words, or letters, that occur again: most captions are done here.
    if len(words) - len(set(words)) >= 2:
        for place in range(len(words) - 2):
            if words[place] == words[place + 1] == words[place + 2]:
                return True
            pair = words[place : place + 2]
            if pair == words[place + 2 : place + 4] == words[place + 4 : place + 6]:
                return True
        most = max(Counter(zip(words, words[1:], words[2:], strict=False)).values(), default=0)
        if most >= 3 and 2 * 3 * most >= len(words):
            return True
    return any(len(word) >= 8 and len(word) - len(set(word)) >= 6 and _PIECES.search(word) for word in words)


def _names(caption: str, concept: str) -> bool:
    text, wanted = (" ".join(one.casefold().split()) for one in (caption, concept))
    start = text.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        if not (_joins(text[start - 1 : start], wanted[:1]) or _joins(wanted[-1:], text[end : end + 1])):
            return True
        start = text.find(wanted, start + 1)
    return False


def _joins(left: str, right: str) -> bool:
    """Tell whether two neighbouring characters stand within one word.

    From the Hebrew block on, scripts attach articles to words or write without spaces: there no border is asked for.
    """
    return all(one.isalnum() and ord(one) < _HEBREW for one in (left, right) if one) and bool(left and right)
