from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synthclip_hpc.config import MATCH_CASES
from synthclip_hpc.curation import words
from synthclip_hpc.curation.matching import Matcher, never_matching
from synthclip_hpc.errors import UserError
from tests.benchmarks.matching import read_captions, read_entries
from tests.data import data_folder

MARKS = ",.;:?!`"
PIECES = [
    *("red", "fox", "Red", "FOX", "a", "A", "red fox", "fox's", "x-ray", "1", "É", "é", "ß", "SS", "ſ", "İ", "Ǆ", "ŉ"),
    *("𝒳", "😀", "日本", "e\u0301", "\u200d", "\ud83d", "\ude00"),
    *(" ", " ", " ", "  ", "\t", "\n", "\r", "\r\n", "\x0b", "\x00", "\x85", "\xa0", "\u2028", "\u3000", "\u037e"),
    *(*MARKS, *MARKS, "'", '"', "(", ")", "-", "/", "…", "。"),
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)
ENTRY = st.one_of(TEXT, st.sampled_from([*PIECES, "red  fox", ". red", "red .", "red . fox", ". .", ".  .", ", a"]))


def spaced(text: str) -> str:
    padded = f" {text} "
    padded = re.sub(r"([,.;:?!`])", r" \1 ", padded)
    return re.sub(r"[\t\n\r]", " ", padded)


def literally(entries: Sequence[str], text: str) -> set[int]:
    """The rule as it is written."""
    text = spaced(text)
    return {place for place, entry in enumerate(entries) if f" {entry} " in text}


def expected(entries: Sequence[str], text: str, case: str) -> list[int]:
    if case == "fold":
        return sorted(literally([entry.casefold() for entry in entries], text.casefold()))
    found = literally(entries, text)
    if case == "first-word" and (first := re.search(r"[^ ,.;:?!`\t\n\r]", text)):
        at = first.start()
        found |= literally(entries, text[:at] + text[at].lower() + text[at + 1 :])
    return sorted(found)


def lists(matched: tuple[np.ndarray, np.ndarray]) -> list[list[int]]:
    offsets, entries = matched
    assert offsets.dtype == np.int64
    assert entries.dtype == np.uint32
    assert offsets[0] == 0
    assert offsets[-1] == len(entries)
    return [entries[start:stop].tolist() for start, stop in pairwise(offsets)]


def found(text: str, *entries: str, case: str = "exact") -> list[str]:
    """The entries that one caption matches."""
    [places] = lists(Matcher(entries, case).match([text]))
    return [entries[place] for place in places]


@pytest.mark.parametrize(
    ("text", "entries", "matching"),
    [
        ("a red fox", ["red", "fox", "red fox", "a red fox", "ed", "re", "red fox jumps"], 4),
        ("a fox, a fox and a fox", ["fox"], 1),
        ("fox", ["fox", "Fox", "FOX"], 1),
        ('"fox" (fox) fox\'s fox-hole fox/dog', ["fox"], 0),
        ("Is it,perhaps;a:fox?No`yes!", ["it", "perhaps", "a", "fox", "No", "yes", "a fox"], 6),
        ("red, fox", ["red fox", "red", "fox", "red , fox", "red ,  fox"], 3),
        ("red  fox", ["red fox", "red  fox", "red", "fox"], 3),
        ("red\tfox\nhen\rcow", ["red fox hen cow", "red\tfox", "red"], 2),
        ("red\r\nfox", ["red fox", "red  fox"], 1),
        ("red\xa0fox", ["red fox", "red\xa0fox", "red"], 1),
        ("e\u0301t\u00e9", ["\u00e9t\u00e9", "e\u0301t\u00e9"], 1),
        ("St. Louis", ["St. Louis", "St", "Louis", "St .  Louis"], 3),
        ("Stop.", [".", "Stop", "Stop .", "!"], 3),
        ("", ["", "a"], 1),
        ("a", ["", "a"], 1),
    ],
)
def test_the_rule_on_examples(text, entries, matching):
    assert len(found(text, *entries)) == matching
    assert found(text, *entries) == [entries[place] for place in expected(entries, text, "exact")]


def test_an_empty_entry_matches_two_spaces_in_a_row():
    assert [found(text, "") for text in ("", "a", "a b", "a  b", "a.", " a")] == [[""], [], [], [""], [""], [""]]


def test_first_word_adds_what_a_small_initial_would_match():
    def first(text):
        return found(text, "a", "A", "red fox", "Red fox", "fox", "uSA", "usa", case="first-word")

    assert first("Red fox") == ["red fox", "Red fox", "fox"]
    assert first("A fox. A hen") == ["a", "A", "fox"]
    assert first("... Red fox") == ["red fox", "Red fox", "fox"]
    assert first("The Red fox") == ["Red fox", "fox"]
    assert first("USA") == ["uSA"]
    assert first('"Red fox"') == []
    assert first("...") == first("") == []
    assert found(".Red fox", ". red", ". red fox", " . red", "Red", case="first-word") == [
        ". red",
        ". red fox",
        " . red",
        "Red",
    ]


def test_fold_ignores_case_on_both_sides():
    assert found("A STRASSE", "straße", "Strasse", "a", "A", "street", case="fold") == ["straße", "Strasse", "a", "A"]
    assert found("a straße", "STRASSE", "strasse", case="exact") == []


def test_equal_entries_all_match():
    assert lists(Matcher(["red fox", "hen", "red fox", "hen"], "exact").match(["hen", "red fox"])) == [[1, 3], [0, 2]]


def test_an_unknown_case_is_told_with_the_valid_ones():
    with pytest.raises(UserError, match=r"balance\.case=first: valid are exact, first-word, fold .*'first-word'"):
        Matcher(["a"], "first")


@pytest.mark.parametrize("case", MATCH_CASES)
@given(
    entries=st.lists(ENTRY, max_size=12), texts=st.lists(TEXT, max_size=8), block_characters=st.sampled_from([1, 9, 99])
)
@example(entries=[], texts=["a", ""], block_characters=9)
@example(entries=["a"], texts=[], block_characters=9)
@example(entries=["\n"], texts=["\n"], block_characters=9)
@example(entries=["", " ", "  "], texts=["", " ", "  ", "   "], block_characters=1)
@example(entries=["fox hen", "hen cow"], texts=["red fox", "hen cow", "fox", "hen"], block_characters=99)
@settings(max_examples=300, deadline=None)
def test_matches_are_those_of_the_rule_taken_literally(case, entries, texts, block_characters):
    with patch.object(words, "_BLOCK_CHARS", block_characters):
        matched = lists(Matcher(entries, case).match(texts))
    assert matched == [expected(entries, text, case) for text in texts]


@given(st.lists(st.tuples(st.sampled_from(["red", "fox", "hen"]), st.sampled_from(["Red", "a", "."])), max_size=30))
@settings(deadline=None)
def test_long_chains_of_overlapping_entries_all_match(pairs):
    text = " ".join(word for pair in pairs for word in pair)
    tokens = text.split(" ")
    entries = sorted({" ".join(tokens[at : at + size]) for at in range(len(tokens)) for size in range(1, 9)})
    [places] = lists(Matcher(entries, "exact").match([text]))
    assert places == expected(entries, text, "exact")


def test_a_dense_bank_matches_nothing_that_is_not_in_it():
    draw = random.Random(1)
    vocabulary = [f"w{number}" for number in range(200)]
    entries = sorted({" ".join(draw.choices(vocabulary, k=draw.choice([1, 2, 2, 3]))) for _ in range(20_000)})
    texts = [" ".join(draw.choices(vocabulary, k=12)) for _ in range(100)]
    matched = lists(Matcher(entries, "exact").match(texts))
    assert sum(map(len, matched)) > 1300
    assert matched == [expected(entries, text, "exact") for text in texts]


def test_never_matching_names_entries_with_marks_in_words_or_line_breaks():
    entries = [
        "fox",
        "St. Louis",
        "a\tb",
        ".",
        "a .",
        ". .",
        ".  .",
        "a\nb",
        "Ph.D.",
        "a\rb",
        "",
        "x-ray",
        "x,",
        "a ? b",
    ]
    assert never_matching(entries) == [1, 2, 5, 7, 8, 9, 12]
    assert never_matching([]) == []


@given(ENTRY, TEXT)
@example(". .", ". .")
@example(".  .", "")
@settings(max_examples=500, deadline=None)
def test_never_matching_is_exact(entry, text):
    if never_matching([entry]):
        assert not literally([entry], text)
        assert not literally([entry], entry)
    else:
        # A mark brings its own spaces, so that this caption has the entry in it.
        assert literally([entry], re.sub(r" ?([,.;:?!`]) ?", r"\1", entry))


@pytest.fixture(scope="module")
def real() -> tuple[list[str], list[str]]:
    data = data_folder()
    if not (data / "captions-real").is_dir() or not (data / "concept-bank-free500k").is_dir():
        pytest.skip(f"no captions-real and concept-bank-free500k in {data}; SYNTHCLIP_TEST_DATA names their folder")
    return read_captions(data), read_entries(data)


def test_totals_of_the_real_captions(real):
    captions, entries = real
    offsets, matched = Matcher(entries, "exact").match(captions)
    counts = np.bincount(matched, minlength=len(entries))
    assert len(captions) == 176_015
    assert len(entries) == 500_000
    assert len(matched) == 2_295_202
    assert np.count_nonzero(counts) == 36_579
    assert np.count_nonzero(counts == 1) == 12_718
    assert np.count_nonzero(np.diff(offsets) == 0) == 20
    assert {entries[place]: int(counts[place]) for place in np.argsort(-counts)[:8]} == {
        "a": 123_666,
        "A": 96_138,
        "in": 71_010,
        "the": 54_889,
        "on": 47_300,
        "and": 40_604,
        "of": 39_126,
        "is": 38_770,
    }


@pytest.mark.parametrize("case", MATCH_CASES)
def test_real_captions_match_what_their_pieces_between_spaces_are(real, case):
    captions, entries = real
    chosen = captions[::88][:2000]
    places: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        places.setdefault(entry.casefold() if case == "fold" else entry, []).append(place)

    def pieces(text: str) -> set[int]:
        text = spaced(text)
        spaces = [at for at, character in enumerate(text) if character == " "]
        cut = {text[left + 1 : right] for left in spaces for right in spaces if right > left}
        return {place for piece in cut & places.keys() for place in places[piece]}

    def all_pieces(text: str) -> list[int]:
        if case == "fold":
            text = text.casefold()
        also = text[0].lower() + text[1:] if case == "first-word" and text[0].isalpha() else text
        return sorted(pieces(text) | pieces(also))

    if case == "first-word":
        chosen = [text for text in chosen if text[0].isalpha()]
        assert len(chosen) > 1900
    assert lists(Matcher(entries, case).match(chosen)) == [all_pieces(text) for text in chosen]


def test_forty_real_captions_against_every_one_of_500000_entries(real):
    captions, entries = real
    chosen = captions[::4400]
    assert lists(Matcher(entries, "exact").match(chosen)) == [expected(entries, text, "exact") for text in chosen]
