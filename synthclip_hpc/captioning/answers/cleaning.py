"""From what a model answered to a caption: one line, one sentence, nothing around it.

The rules, applied over and over until none changes anything (so that what is clean stays as it is):

1. Lines. Control and broken characters and tags ("<caption>") become spaces. The first line counts that is more than
   a lead-in ("Sure! Here is your caption:", or any line that ends in a colon), the concept named again ("Concept:
   cat"), a title ("Title: Winter"), or marks ("---").
2. White space is folded; text is put into Unicode's NFC, as concepts are.
3. Numbering, bullets, heading and quotation marks at the start ("1. ", "- ", "# ", "> ") go.
4. Lead-ins on the caption's own line ("Image caption: …", "Caption 1: …", "Sure, here is one: …", "Sure, …",
   "Assistant: …", "The scene: …", "I'll say: "…"") go.
5. Markdown's emphasis and backticks go; what they enclose stays.
6. Quotes around the whole go, straight or typographic, nested or not; so does a quote that opens or closes nothing.
7. Notes at the end go: "(15 words)", "[Note: …]", "- 12 words".
8. Further sentences go. A first one of one or two words is a heading ("Chessboard. A world of logic."): the first of
   three words or more counts. No sentence ends after an abbreviation or an initial, within quotes or brackets, or
   where a small letter goes on.

A change of these rules changes captions: raise `RULES_VERSION` with it.
"""

from __future__ import annotations

import re
import unicodedata

from synthclip_hpc.captioning.answers.quotes import without_quotes
from synthclip_hpc.captioning.answers.sentences import one_sentence

RULES_VERSION = 2
"""Part of a plan's identity."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffd\ud800-\udfff]")
"""With what stands for broken text: a token limit may cut a character in two, and lone surrogates fit in no file."""
_LINE_ENDS = re.compile(r"[\n\r\x0b\x0c\x85\u2028\u2029]")
_ITEM = re.compile(r"(?:[-*+•‣▪●–—]|\(?\d{1,2}[.)])\s+")
_MARKS = re.compile(rf"(?:(?:#{{1,6}}|>+)\s+|{_ITEM.pattern})+")

_CHEER = r"(?:sure(?:\s+thing)?|certainly|of\s+course|ok(?:ay)?|absolutely|great|alright|yes|thanks|thank\s+you)"
_KIND = r"(?:caption|sentence|description|answer|response|output|prompt|result)"
_BEFORE_KIND = (
    r"(?:the|a|an|my|your|this|one|image|photo|picture|short|possible|suggested|final|single|correct|grammatical(?:ly)?"
    r"|example|sample|of|new|text|generated|revised)"
)
_PICTURE = r"(?:image|photo(?:graph)?|picture)"
_NUMBER = r"(?:\s+\#?\d{1,2})?"
_LEAD_IN = re.compile(
    rf"""
    {_CHEER}\s*[!:]+\s*                                               # Sure!
    | (?:{_CHEER}[,.]*\s+)?
      (?:
        here(?:['’]s|\s+is|\s+are)\b[^:"“]{{0,120}}:                  # Here is a caption for you:
        | (?:{_BEFORE_KIND}\s+){{0,6}}{_KIND}s?{_NUMBER}
          (?:\s+(?:for|of|is|as|about|in|that|should|would|could|might)\b[^:"“]{{0,120}})?\s*:   # The image caption is:
        | (?:(?:the|my|your|this)\s+)?scene(?:\s+in\s+question)?\s*:  # The scene:
        | (?:(?:the|my|your|this)\s+)?(?:{_PICTURE}{_NUMBER}|title)\s*: # Image 2:
        | (?:ai\s+)?assistant\s*:
        | (?:(?:the|my|your)\s+)?concept\s*:                          # Concept:
        | i(?:['’](?:ll|d|m)|\s+(?:will|would|can|am|have|suggest|propose))\b[^:"“]{{0,120}}:(?=\s*["“])  # I'll say: "
      )\s*
    | (?:sure(?:\s+thing)?|certainly|of\s+course|ok(?:ay)?|absolutely|alright),\s+         # Sure, a cat sits.
    """,
    re.IGNORECASE | re.VERBOSE,
)
_LEAD_IN_START = re.compile(
    rf"{_CHEER}\b|{_BEFORE_KIND}\b|{_KIND}|scene|concept|here\b|i(?:['’]|\s)|{_PICTURE}|title|(?:ai\s+)?assistant",
    re.IGNORECASE,
)
_NAMED_LINE = re.compile(r"\W*(?:concept\W*:[*_]*(?:\s+\S+){0,4}|title\W*:[*_]*(?:\s+\S+){0,8})\s*", re.IGNORECASE)
_TAG = re.compile(rf"</?(?:image[\s_-]?)?(?:{_KIND}|image|text|scene)>", re.IGNORECASE)
_ANNOUNCEMENT = re.compile(rf"(?:{_CHEER}\W+)?here(?:['’]s|\s+is|\s+are)\b[^:\"“]*\b{_KIND}s?\b[^:\"“]*", re.IGNORECASE)
_EMPHASIS = re.compile(r"\*\*(\S(?:.*?\S)?)\*\*|__(\S(?:.*?\S)?)__|(?<![\w*])\*(\w(?:[^*]*\S)?)\*(?![\w*])|`+([^`]*)`+")
_NOTE = re.compile(
    r"""\s*(?:
        [(\[]\s*(?:(?:word|character)s?(?:\s+count)?\s*:|note\s*:|(?:exactly\s+|about\s+)?\d+[\s-]?(?:word|character)s?\b)
        [^()\[\]]*[)\]]
        | \s[-–—]\s*\d+\s+words
    )[.\s]*$""",
    re.IGNORECASE | re.VERBOSE,
)
_NOTE_ENDS = (")", "]", ").", "].", "words", "words.")
_MARKDOWN = re.compile(r"[*_`]")


def clean(raw: str) -> str:
    """Return the caption in an answer, by the rules above; empty when there is none. Never raises."""
    text = _first_line(raw)
    while (shorter := _cleaned_once(text)) != text:
        text = shorter
    return text


def pick(raw: str, seed: int) -> str:
    """Return one of the captions of an answer that lists several, not yet cleaned: line `seed % number of lines`.

    The lines of a numbered or bulleted list count, or without a list all lines that `clean` would not skip. The last
    of several may have been cut off by the token limit: it counts only when it ends like a sentence. Empty when there
    is none.
    """
    lines = [line.strip() for line in _LINE_ENDS.split(raw)]
    listed = [line for line in lines if _ITEM.match(line)]
    candidates = [line for line in listed or lines if _has_caption(line)]
    if len(candidates) > 1 and _TAG.sub("", candidates[-1]).rstrip("\"'”’»*_) ")[-1:] not in tuple(".!?…。！？"):
        candidates.pop()
    return candidates[seed % len(candidates)] if candidates else ""


def _first_line(raw: str) -> str:
    lines = _LINE_ENDS.split(raw)
    if len(lines) > 1:
        filled = [line for line in lines if line.strip()]
        lines = [line for line in filled if _has_caption(line)] or filled
    return lines[0] if lines else ""


def _has_caption(line: str) -> bool:
    text = _TAG.sub(" ", line).strip().rstrip("*_")
    if text.endswith((":", "：")) or _NAMED_LINE.fullmatch(text) or _ANNOUNCEMENT.fullmatch(text):
        return False
    return any(character.isalnum() for character in _without_lead_in(_without_marks(text)))


def _cleaned_once(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", _CONTROL.sub(" ", text))
    if "<" in text:
        text = _TAG.sub(" ", text)
    text = _without_lead_in(_without_marks(" ".join(text.split())))
    if _MARKDOWN.search(text):
        text = _EMPHASIS.sub(lambda match: next(part for part in match.groups() if part is not None), text)
    if text.endswith(_NOTE_ENDS):
        text = _NOTE.sub("", text)
    return one_sentence(without_quotes(text))


def _without_marks(text: str) -> str:
    match = _MARKS.match(text)
    return text[match.end() :] if match else text


def _without_lead_in(text: str) -> str:
    if not _LEAD_IN_START.match(text):
        return text
    match = _LEAD_IN.match(text)
    return text[match.end() :] if match else text
