"""`concepts.subset=captions=FILE`: matched once, believed while nothing changes, and mistakes under its own name."""

from __future__ import annotations

import os

import pytest

from synthclip_hpc.curation import named_concepts as module
from synthclip_hpc.curation.matching import Matcher
from synthclip_hpc.curation.named_concepts import named_concepts
from synthclip_hpc.curation.sources import find_source

BANK = ["zebra", "red fox", "fox", "cat"]


@pytest.fixture
def matchings(monkeypatch):
    """How often captions were matched."""
    calls = []

    def counting(*args):
        calls.append(args)
        return Matcher(*args)

    monkeypatch.setattr(module, "Matcher", counting)
    return calls


def test_captions_are_matched_once_for_all_commands(app, at_once, tmp_path, matchings):
    (tmp_path / "bank.txt").write_text("".join(f"{concept}\n" for concept in BANK))
    (tmp_path / "captions.txt").write_text("a red fox\na dog\n")
    words = (f"concepts.bank={tmp_path / 'bank.txt'}", f"concepts.subset=captions={tmp_path / 'captions.txt'}")
    for verb, *more in (("submit", "dry-run=true"), ("submit",), ("submit", "workers=1"), ("resume",)):
        stage = ["stage=captions", *words] if verb == "submit" else []
        assert app(verb, *stage, *more).code == 0
    assert len(matchings) == 1
    assert {row["concept"] for row in app.captions()} == {"red fox", "fox"}


def test_other_captions_or_another_bank_are_matched_anew(tmp_path, matchings):
    path = tmp_path / "captions.txt"
    path.write_text("a red fox\n")
    assert named_concepts(BANK, find_source(path)) == [1, 2]
    assert named_concepts(BANK, find_source(path)) == [1, 2]
    assert len(matchings) == 1
    assert named_concepts(BANK[1:], find_source(path)) == [0, 1]
    assert len(matchings) == 2
    path.write_text("a red cat\n")  # as many bytes
    assert named_concepts(BANK, find_source(path)) == [3]
    assert len(matchings) == 3


def test_a_change_that_samples_of_a_large_file_miss_is_seen_by_its_time(tmp_path, monkeypatch, matchings):
    monkeypatch.setattr("synthclip_hpc.curation.source_files.sample_file", lambda file, samples: ["same"])
    path = tmp_path / "captions.txt"
    path.write_text("a red fox\n")
    assert named_concepts(BANK, find_source(path)) == [1, 2]
    path.write_text("a red cat\n")
    os.utime(path, ns=(0, 1))
    assert named_concepts(BANK, find_source(path)) == [3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "concepts.subset=captions={path}: there is no such file or folder"),
        (b"PAR1 not really", "concepts.subset=captions: {path}: cannot be read"),
    ],
)
def test_a_mistake_names_the_argument_that_was_given(app, tmp_path, content, words):
    path = tmp_path / "captions.parquet"
    if content is not None:
        path.write_bytes(content)
    outcome = app("submit", "stage=concepts", "concepts.bank=emoji", f"concepts.subset=captions={path}")
    assert outcome.code == 2
    assert f"error: {words.format(path=path)}" in outcome.words
    assert "balance.source" not in outcome.words


def test_a_file_without_a_usable_caption_is_refused_with_the_reasons(app, tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes(b"\xff\n\n")
    outcome = app("submit", "stage=concepts", "concepts.bank=emoji", f"concepts.subset=captions={path}")
    assert outcome.code == 2
    assert f"concepts.subset=captions={path}: none of its 2 rows is a caption" in outcome.words
