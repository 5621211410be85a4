"""`concepts.exclude`: what is left out keeps its place, so that editing the list moves nothing else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from synthclip_hpc.captioning.banks.bank import read_bank
from synthclip_hpc.errors import UserError

CONCEPTS = ("cat", "Gun", "dog", "water gun", "Straße", "fox")


@pytest.fixture
def excluded(tmp_path: Path):
    """Read the bank CONCEPTS with a list of concepts to exclude."""
    bank = tmp_path / "bank.txt"
    bank.write_text("\n".join(CONCEPTS), encoding="utf-8")

    def read(data: str | bytes, name: str = "unsafe.txt", **selection: Any):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return read_bank(str(bank), exclude=str(path), **selection)

    return read


def left_out(bank) -> list[str]:
    return [bank.concepts[place] for place in sorted(bank.excluded)]


def test_excluded_concepts_keep_their_place(excluded):
    bank = excluded("gun\nfox\n")
    assert bank.concepts == CONCEPTS
    assert bank.excluded == {1, 5}
    assert bank.reject_reasons == [None, "excluded", None, None, None, "excluded"]
    assert bank.rejects == {}


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ("GUN", ["Gun"]),
        ("  gun  ", ["Gun"]),
        ("STRASSE", ["Straße"]),
        ("water\u00a0 GUN", ["water gun"]),
        ("gu", []),
        ("guns", []),
    ],
)
def test_whole_concepts_are_compared_whatever_their_case(excluded, entry, left):
    assert left_out(excluded(f"{entry}\ndog\n")) == sorted([*left, "dog"], key=CONCEPTS.index)


@pytest.mark.parametrize(
    "hidden",
    [
        "gun\u200b", "\ufeffgun", "g\u00adun", "gu\u2060n", "gun\u200d", "g\u200cun", "\u202egun", "gun\ufe0f",
        "gun \u200b", "g\u034fun", "GUN\U000e0020",
    ],
)  # fmt: skip
def test_no_concept_escapes_by_what_does_not_show_in_the_bank_or_in_the_list(tmp_path, hidden):
    bank, unsafe = tmp_path / "bank.json", tmp_path / "unsafe.json"
    for one, other in ((hidden, "gun"), ("gun", hidden)):
        bank.write_text(json.dumps([one, "guns", "g un", "dog"]))
        unsafe.write_text(json.dumps([other]))
        found = read_bank(str(bank), exclude=str(unsafe))
        assert found.concepts[0] == one
        assert found.excluded == {0}
        assert found.exclusion is not None and found.exclusion.unmatched == ()


def test_accents_are_joined_when_what_stands_between_goes(tmp_path):
    for name, word in (("bank.json", "caf\u00e9"), ("unsafe.json", "cafe\u200b\u0301")):
        (tmp_path / name).write_text(json.dumps([word, "x" if "bank" in name else "y"]))
    assert read_bank(str(tmp_path / "bank.json"), exclude=str(tmp_path / "unsafe.json")).excluded == {0}


def test_entries_that_are_told_steer_no_terminal(excluded):
    bank = excluded(json.dumps(["gun", "\u202ecba", "w\x9b31m"]), "l.json")
    assert bank.summary().endswith(r"1 of its entries not in the bank: \u202ecba)")


def test_a_composed_and_a_decomposed_entry_are_the_same(tmp_path):
    for name, text in (("bank.txt", "caf\u00e9\ncat\n"), ("unsafe.txt", "CAFE\u0301\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_bank(str(tmp_path / "bank.txt"), exclude=str(tmp_path / "unsafe.txt")).excluded == {0}


def test_the_list_may_have_any_form_of_a_bank(excluded):
    forms = {
        "l.txt": "gun\n",
        "l.json": json.dumps(["gun"]),
        "l.tsv": "concept\twhy\ngun\tweapon\n",
        "l.txt.gz": gzip.compress(b"gun\r\n"),
    }
    assert {name: left_out(excluded(data, name)) for name, data in forms.items()} == {name: ["Gun"] for name in forms}


def test_a_built_in_bank_may_be_what_is_left_out(tmp_path):
    (tmp_path / "bank.txt").write_text("Abacus\nnot an emoji\n")
    bank = read_bank(str(tmp_path / "bank.txt"), exclude="emoji")
    assert left_out(bank) == ["Abacus"]
    assert bank.exclusion is not None
    assert (bank.exclusion.entries_read, len(bank.exclusion.unmatched)) == (446, 445)


def test_the_identity_follows_what_is_left_out_and_nothing_else_of_the_list(excluded):
    one = excluded("gun\n").sha256
    assert excluded("GUN\nno such concept\n\n", "other.txt").sha256 == one
    assert len({one, excluded("fox\n").sha256, excluded("gun\nfox\n").sha256, excluded("unknown\n").sha256}) == 4


def test_a_list_that_meets_nothing_leaves_the_banks_own_identity(excluded, tmp_path):
    assert excluded("unknown\n").sha256 == read_bank(str(tmp_path / "bank.txt")).sha256


def test_selection_does_not_see_the_list(excluded, tmp_path):
    selections: list[dict[str, Any]] = [{"limit": 3}, {"sample": 3, "seed": 1}]
    for selection in selections:
        with_list = excluded(f"{CONCEPTS[0]}\n{CONCEPTS[1]}\n", **selection)
        assert with_list.concepts == read_bank(str(tmp_path / "bank.txt"), **selection).concepts
        assert len(with_list.concepts) == 3


def test_what_found_nothing_is_counted_and_told(excluded):
    bank = excluded("gun\nw1\nw2\nw2\nw3\nw4\n\n")
    assert bank.exclusion is not None
    assert bank.exclusion.unmatched == ("w1", "w2", "w3", "w4")
    assert bank.exclusion.rejects == {"duplicate": 1, "empty": 1}
    assert bank.summary() == (
        "6 concepts from bank.txt (1 excluded by unsafe.txt, 4 of its entries not in the bank: w1, w2, w3, ...)"
    )
    assert bank.provenance()["exclude"] == {
        "source": bank.exclusion.source,
        "entries_read": 7,
        "rejects": {"duplicate": 1, "empty": 1},
        "excluded": 1,
        "not_in_bank": 4,
        "not_in_bank_first": ["w1", "w2", "w3", "w4"],
    }


def test_a_concept_of_the_bank_that_was_not_selected_does_not_count_as_unknown(excluded):
    bank = excluded("cat\nfox\n", limit=2)
    assert bank.exclusion is not None
    assert (left_out(bank), bank.exclusion.unmatched) == (["cat"], ())
    assert bank.summary() == "2 concepts from bank.txt (4 not selected left out; 1 excluded by unsafe.txt)"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("l.txt", b"", "no usable concept among 0 entries (nothing in it); to exclude nothing, leave the key out"),
        ("l.txt", b"\n \n", "no usable concept among 2 entries (2 empty)"),
        ("l.txt", b"\x00\n" + b"y" * 10_000, "no usable concept among 2 entries (1 control character, 1 too long)"),
        ("l.txt", b"ok\nb\xe9b\xe9\n", "line 2 is not UTF-8"),
        ("l.json", b'{"gun": 1}', "wanted a JSON list of strings"),
        ("l.txt.gz", gzip.compress(b"gun\n" * 1000, mtime=0)[:-9], "cannot be read"),
        ("l.txt.zst", b"no zstandard", "cannot be read"),
        ("l.txt", "\n".join(CONCEPTS).encode(), "excludes all 6 concepts"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_by_its_own_key(excluded, tmp_path, name, data, words):
    with pytest.raises(UserError) as caught:
        excluded(data, name)
    assert f"concepts.exclude={tmp_path / name}: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("word", ["no/such.txt", ".", ""])
def test_a_list_that_is_not_there_is_a_mistake_told_before_anything_is_written(app, word):
    outcome = app("submit", "stage=concepts", "concepts.bank=emoji", f"concepts.exclude={word}")
    assert outcome.code == 2
    assert "concepts.exclude=" in outcome.err
    assert not app.path.exists()
