from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthclip_hpc.captioning.banks import listing as bank_files
from synthclip_hpc.captioning.banks.bank import read_bank
from synthclip_hpc.captioning.banks.listing import METACLIP_GIT_BLOB, git_blob_id
from synthclip_hpc.captioning.banks.normalising import MAX_CONCEPT_CHARACTERS, distinct, shown
from synthclip_hpc.errors import UserError

CONCEPTS = ("cat", "dog", "Straße", "ice cream", "שלום", "🐕‍🦺", "a\u2028b".replace("\u2028", " "))


@pytest.fixture
def bank(tmp_path: Path):
    def write(name: str, data: bytes | str, **selection: Any):
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
        "half a pair \ud83d",
        "c1 \x80",
        "c1 \x9f",
        "csi \x9b31m",
        *(f"none {chr(code)}" for code in (0xFDD0, 0xFDEF, 0xFFFE, 0xFFFF, 0x1FFFE, 0x10FFFF)),
    ]
    found = bank("b.json", json.dumps(entries))
    assert found.concepts == ("cat", "dog", "x" * MAX_CONCEPT_CHARACTERS, "caf\u00e9")
    assert found.rejects == {"empty": 2, "duplicate": 3, "too_long": 1, "control_character": 11, "broken_unicode": 1}
    assert found.entries_read == len(entries) == len(found.concepts) + sum(found.rejects.values())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=12)))
def test_counts_in_are_counts_out_and_normalising_twice_changes_nothing(entries):
    concepts, rejects, entries_read = distinct(entries)
    assert entries_read == len(entries) == len(concepts) + sum(rejects.values())
    again, none, _ = distinct(concepts)
    assert (again, sum(none.values())) == (concepts, 0)


def test_a_line_separator_inside_an_entry_does_not_cut_it(bank):
    for separator in ("\u2028", "\u2029", "\x85", "\u00a0"):
        assert bank("b.txt", f"a{separator}b\nc\n").concepts == ("a b", "c")


def test_every_line_of_a_text_is_an_entry_and_none_a_comment(bank):
    assert bank("b.txt", "# animals\ncat\n#\n").concepts == ("# animals", "cat", "#")


def test_awkward_lines_are_kept_whole_or_counted(bank):
    kept = ("שלום עולם", "مرحبا", "🐕‍🦺", "🇺🇳", "日本語", "\u202eabc", "x" * 256, "{concept}")
    lines = [*kept, "y" * 10_000, "a\x00b", "\x00", "\x1b[31mred", "tab\tinside"]
    found = bank("b.txt", "\ufeff" + "\r\n".join(lines) + "\r\n")
    assert found.concepts == (*kept, "tab inside")
    assert found.rejects == {"too_long": 1, "control_character": 3}
    assert found.entries_read == len(lines)


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
        ("b.txt.gz", gzip.compress(b"a\n" * 1000, mtime=0)[:-9], "cannot be read"),
        ("b.txt.gz", gzip.compress(b"a\n" * 1000, mtime=0)[:10] + b"\xff" * 40, "cannot be read"),
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
    assert "Valid: wordnet, emoji, emoji-demo, or the path" in outcome.err
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


def test_the_summary_tells_the_name_and_every_reject(bank):
    long = "x" * 257
    assert bank("b.txt", "cat\n").summary() == "1 concept from b.txt"
    assert bank("b.txt", f"cat\ncat\n\n{long}\ndog\nfox\na\x00\n", limit=2).summary() == (
        "2 concepts from b.txt (1 control character, 1 duplicate, 1 empty, 1 not selected, 1 too long left out)"
    )
    assert bank("b.txt", "cat\n" * 1001).summary() == "1 concept from b.txt (1,000 duplicates left out)"


def test_git_tells_the_same_id_of_a_file():
    # what `git hash-object` prints for an empty file and for a line
    assert git_blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob_id(b"hello world\n") == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"


def test_the_source_of_a_file_is_its_name_and_the_id_of_its_content(bank):
    data = "hello world\n"
    blob = "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"
    assert bank("b.txt", data).source == f"b.txt (git blob {blob})"
    assert bank("b.txt.gz", compressed(data, "gz")).source == f"b.txt.gz (git blob {blob} when unpacked)"
    assert read_bank("emoji").source == "built in: emoji"


def test_a_name_that_a_terminal_would_act_on_is_escaped(bank):
    assert bank("b\x1b[31m.txt", "cat\n").summary() == r"1 concept from b\x1b[31m.txt"


def test_neighbours_of_what_is_rejected_and_characters_without_a_picture_are_concepts(bank):
    kept = ("\u00a1", "\ufdcf", "\ufdf0", "\ufffd", "gun\u200b", "\u202eabc", "\u0645\u06cc\u200c\u062e", "🐕\u200d🦺")
    assert bank("b.json", json.dumps(kept)).concepts == kept


def test_what_a_terminal_gets_to_see_steers_nothing_and_scripts_stay_whole():
    assert (
        shown("caf\u00e9 (\u0645\u06cc\u200c\u062e, 🐕\u200d🦺)") == "caf\u00e9 (\u0645\u06cc\u200c\u062e, 🐕\u200d🦺)"
    )
    assert shown("\u202eabc\u200b\x9b\x1b[1m\ue000") == r"\u202eabc\u200b\x9b\x1b[1m\ue000"


@pytest.mark.parametrize("packed", ["", "gz"])
def test_metaclips_list_is_named_by_its_content_whatever_the_file_is_called(bank, monkeypatch, packed):
    text = json.dumps(["!", "cat", "c++", "Dog"])
    assert len(METACLIP_GIT_BLOB) == 40
    before = bank("mine.json", text)
    assert before.label == "mine.json"
    monkeypatch.setattr(bank_files, "METACLIP_GIT_BLOB", git_blob_id(text.encode()))
    found = bank(f"mine.json.{packed}", compressed(text, packed)) if packed else bank("mine.json", text)
    assert found.source.startswith(f"MetaCLIP metadata.json (git blob {git_blob_id(text.encode())}")
    assert found.summary() == "4 concepts from MetaCLIP metadata.json"
    assert found.concepts == ("!", "cat", "c++", "Dog")
    assert found.sha256 == before.sha256
    assert bank("metadata.json", json.dumps(["!", "cat"])).label == "metadata.json"
