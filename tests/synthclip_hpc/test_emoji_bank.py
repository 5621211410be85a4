"""The built-in emoji bank and the caption templates, as they lie in the package."""

from __future__ import annotations

import unicodedata
from importlib import resources

import pytest

from synthclip_hpc.captioning.banks import build_emoji

CAPTIONING = resources.files("synthclip_hpc") / "captioning"


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    heading, *lines = (CAPTIONING / "banks" / "emoji.tsv").read_text(encoding="utf-8").splitlines()
    assert heading == "concept\tcodepoint\tdemo"
    return [line.split("\t") for line in lines]


def test_every_row_has_three_filled_columns(rows: list[list[str]]) -> None:
    assert len(rows) == 446
    assert {len(row) for row in rows} == {3}
    assert all(cell and cell == cell.strip() for row in rows for cell in row)


def test_concepts_are_unique_and_sorted(rows: list[list[str]]) -> None:
    concepts = [row[0] for row in rows]
    assert concepts == sorted(set(concepts))
    assert all(concept == concept.lower() for concept in concepts)


def test_each_concept_has_one_code_point_of_its_own(rows: list[list[str]]) -> None:
    codes = [row[1] for row in rows]
    assert len(set(codes)) == len(codes)
    for code in codes:
        assert code == f"{int(code, 16):x}"
        assert unicodedata.category(chr(int(code, 16))) in (
            "So",
            "Cn",
        )  # a picture; Cn: newer than this Python's tables


def test_no_flags_and_no_skin_tones(rows: list[list[str]]) -> None:
    codepoints = {int(row[1], 16) for row in rows}
    assert not codepoints & set(range(0x1F1E6, 0x1F200))
    assert not codepoints & set(range(0x1F3FB, 0x1F400))
    assert not [row[0] for row in rows if row[0].split()[-1] == "flag"]


def test_exactly_one_hundred_one_word_classes_are_for_the_demo(rows: list[list[str]]) -> None:
    assert {row[2] for row in rows} == {"0", "1"}
    demo = [row[0] for row in rows if row[2] == "1"]
    assert len(demo) == build_emoji.NUM_DEMO == 100
    assert not [concept for concept in demo if " " in concept]
    assert not build_emoji.NOT_DEMO & set(demo)


def test_excluded_pairs_are_not_in_the_bank_and_their_doubles_are(rows: list[list[str]]) -> None:
    concepts = {row[0] for row in rows}
    assert not build_emoji.excluded_names() & concepts
    doubles = next(text for reason, text in build_emoji.EXCLUDED.items() if "in brackets" in reason)
    stays = {entry.split("(")[1].strip(" )\n") for entry in doubles.split(",")}
    assert stays <= concepts


def test_missing_or_changed_sources_are_refused(tmp_path, capsys) -> None:
    assert build_emoji.main([str(tmp_path), "--check"]) == 2
    assert "is missing" in capsys.readouterr().err
    for name in build_emoji.SHA256:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(build_emoji.SourceError, match="sha256"):
        build_emoji.check_sources(tmp_path)
