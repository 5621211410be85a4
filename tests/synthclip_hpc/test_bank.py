from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthclip_hpc.captioning.bank import MAX_CONCEPT_CHARACTERS, _distinct, read_bank
from synthclip_hpc.errors import UserError

CONCEPTS = ("cat", "dog", "Straße", "ice cream", "שלום", "🐕‍🦺", "a\u2028b".replace("\u2028", " "))


@pytest.fixture
def bank(tmp_path: Path):
    def write(name: str, data: bytes | str, **selection: int):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return read_bank(str(path), **selection)

    return write


def compressed(data: str, kind: str) -> bytes:
    if kind == "gz":
        return gzip.compress(data.encode())
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data.encode())
    return sink.getvalue().to_pybytes()


TEXTS = {
    "txt": "\n".join(CONCEPTS) + "\n",
    "json": json.dumps(CONCEPTS),
    "tsv": "concept\tcount\n" + "".join(f"{concept}\t7\n" for concept in CONCEPTS),
}


@pytest.mark.parametrize("form", ["txt", "json", "tsv"])
@pytest.mark.parametrize("packed", ["", "gz", "zst"])
def test_every_form_gives_the_same_concepts_and_so_the_same_hash(bank, form, packed):
    text = TEXTS[form]
    found = bank(f"b.{form}.{packed}", compressed(text, packed)) if packed else bank(f"b.{form}", text)
    assert found.concepts == CONCEPTS
    assert found.entries_read == len(CONCEPTS)
    assert found.rejects == {}
    assert found.sha256 == bank("plain.txt", TEXTS["txt"]).sha256


@pytest.mark.parametrize("data", ["a\nb", "a\nb\n", "a\r\nb\r\n", "\ufeffa\nb\n", " a \n\tb\n", "\ufeffa\r\nb"])
def test_line_ends_and_a_byte_order_mark_make_no_difference(bank, data):
    assert bank("b.txt", data).concepts == ("a", "b")


def test_every_entry_is_a_concept_or_counted_with_its_reason(bank):
    entries = [
        "cat",
        "",
        "cat",
        "  ",
        "dog",
        "x" * 256,
        "x" * 257,
        "bell\x07",
        "nul\x00",
        " cat",
        "caf\u00e9",
        "cafe\u0301",
    ]
    found = bank("b.json", json.dumps(entries))
    assert found.concepts == ("cat", "dog", "x" * MAX_CONCEPT_CHARACTERS, "caf\u00e9")
    assert found.rejects == {"empty": 2, "duplicate": 3, "too_long": 1, "control_character": 2}
    assert found.entries_read == len(entries) == len(found.concepts) + sum(found.rejects.values())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=12)))
def test_counts_in_are_counts_out_and_normalising_twice_changes_nothing(entries):
    concepts, rejects, entries_read = _distinct(entries)
    assert entries_read == len(entries) == len(concepts) + sum(rejects.values())
    again, none, _ = _distinct(concepts)
    assert (again, sum(none.values())) == (concepts, 0)


def test_a_line_separator_inside_an_entry_does_not_cut_it(bank):
    for separator in ("\u2028", "\u2029", "\x85", "\u00a0"):
        assert bank("b.txt", f"a{separator}b\nc\n").concepts == ("a b", "c")


def test_a_carriage_return_alone_is_white_space_and_no_line_end(bank):
    assert bank("b.txt", "a\rb\nc\n").concepts == ("a b", "c")


def test_a_heading_is_only_left_out_of_a_table(bank):
    assert bank("b.txt", "concept\ncat\n").concepts == ("concept", "cat")
    assert bank("b.tsv", "cat\t1\nconcept\t2\n").concepts == ("cat", "concept")


def test_a_name_is_read_by_what_its_end_says_in_any_case(bank):
    assert bank("B.JSON", json.dumps(["a", "b"])).concepts == ("a", "b")
    assert bank("B.TXT.GZ", compressed("a\nb\n", "gz")).concepts == ("a", "b")
    assert bank("two.json.parts.txt", "[1]\n").concepts == ("[1]",)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("b.txt", b"", "no usable concept among 0"),
        ("b.txt", b"\n\n \n", "no usable concept among 3 entries (3 empty)"),
        ("b.json", b"", "not valid JSON"),
        ("b.json", b"[]", "no usable concept"),
        ("b.json", b'{"a": 1}', "wanted a JSON list of strings"),
        ("b.json", b'["a", 1]', "wanted a JSON list of strings"),
        ("b.json", b'["a"', "not valid JSON"),
        ("b.json", b"[" * 100_000, "not valid JSON"),
        ("b.txt", "stra\u00dfe\nf\u00fcnf\n".encode("latin-1"), "line 1 is not UTF-8"),
        ("b.txt", b"ok\nok\nb\xe9b\xe9\n", "line 3 is not UTF-8"),
        ("b.txt", "ab\n".encode("utf-16"), "UTF-8"),
        ("b.txt", bytes(range(256)) * 4, "UTF-8"),
        ("b.txt.gz", b"no gzip", "cannot be read"),
        ("b.txt.gz", gzip.compress(b"a\n" * 1000)[:-9], "cannot be read"),
        ("b.txt.gz", gzip.compress(b"a\n" * 1000)[:10] + b"\xff" * 40, "cannot be read"),
        ("b.txt.zst", b"no zstandard", "cannot be read"),
        ("b.txt.zst", b"", "no usable concept|cannot be read"),
        ("b.txt.gz", b"", "no usable concept|cannot be read"),
    ],
)
def test_a_bank_that_cannot_be_used_is_refused_by_name(bank, tmp_path, name, data, words):
    with pytest.raises(UserError) as caught:
        bank(name, data)
    assert any(one in str(caught.value) for one in words.split("|")), caught.value
    assert f"concepts.bank={tmp_path / name}" in str(caught.value)


def test_a_truncated_zstandard_bank_is_refused_and_never_read_in_part(bank):
    import random

    lines = "".join(f"{random.Random(n).getrandbits(64):x}\n" for n in range(20_000))
    whole = compressed(lines, "zst")
    assert len(bank("b.txt.zst", whole).concepts) == 20_000
    for cut in (len(whole) // 2, len(whole) - 1):
        with pytest.raises(UserError, match="cannot be read"):
            bank("b.txt.zst", whole[:cut])


def test_a_missing_bank_names_what_is_valid(app):
    outcome = app("submit", "stage=captions", "concepts.bank=emojis")
    assert outcome.code == 2
    assert "did you mean 'emoji'" in outcome.err
    assert ".tsv" in app("submit", "stage=captions", "concepts.bank=./no/such.txt").err
    assert app("submit", "stage=captions", "concepts.bank=.").code == 2
    assert app("submit", "stage=captions", "concepts.bank=").code == 2
    assert not app.path.exists()


def test_limit_keeps_the_first_and_counts_the_rest(bank):
    found = bank("b.txt", "a\nb\nb\nc\n", limit=2)
    assert found.concepts == ("a", "b")
    assert found.rejects == {"duplicate": 1, "not_selected": 1}


@pytest.mark.parametrize("selection", [{"limit": 4}, {"sample": 4}, {"limit": -1}, {"sample": -1}])
def test_a_selection_that_cannot_be_is_refused(bank, selection):
    with pytest.raises(UserError, match=f"concepts.{next(iter(selection))}"):
        bank("b.txt", "a\nb\nc\n", **selection)


def test_limit_and_sample_together_are_refused(bank):
    with pytest.raises(UserError, match="one of the two"):
        bank("b.txt", "a\nb\nc\n", limit=1, sample=1)


def test_a_sample_follows_the_seed_and_keeps_the_order_of_the_bank(bank):
    text = "".join(f"c{n}\n" for n in range(200))
    first, again, other = (bank("b.txt", text, sample=50, seed=seed).concepts for seed in (1, 1, 2))
    assert first == again != other
    assert list(first) == sorted(first, key=lambda concept: int(concept[1:]))
    assert len(set(first)) == 50


def test_a_sample_is_stable_when_the_bank_is_edited(bank):
    concepts = [f"c{n}" for n in range(200)]
    before = set(bank("b.txt", "\n".join(concepts), sample=50).concepts)
    grown = set(bank("b.txt", "\n".join(["new", *reversed(concepts)]), sample=50).concepts)
    assert len(before - grown) <= 1
    assert grown - before <= {"new"}
    smaller = set(bank("b.txt", "\n".join(concepts), sample=49).concepts)
    assert smaller < before
