"""`coverage`: what a run's balancing was given and kept, or any captions against a bank."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

from tests.synthclip_hpc.app import tree
from tests.synthclip_hpc.test_balance import rows_of

pytest.importorskip("matplotlib", reason="needs the extra report")


@pytest.fixture
def bank(tmp_path):
    path = tmp_path / "bank.txt"
    path.write_text("photo\nart\ncat\ndog\nzebra\n")
    return path


def test_before_and_after_are_those_of_the_run(app, at_once, bank, tmp_path):
    words = ("captions.per_concept=30", "balance.target=40", "workers=1")
    assert app("submit", "stage=captions,balance", f"concepts.bank={bank}", *words).code == 0
    drawn = (app.path / "report/coverage.png").read_bytes()
    outcome = app("coverage", f"out={tmp_path / 'out'}")
    assert outcome.code == 0, outcome
    [line] = [line for line in outcome.out.splitlines() if line.startswith("captions  ")]
    assert line.split() == ["captions", "150", "40"]
    written = (tmp_path / "out/coverage.json").read_bytes()
    assert written == (app.path / "balance/coverage/data/000/00000.json").read_bytes()
    facts = json.loads(written)
    names = ["photo", "art", "cat", "dog", "zebra"]
    after = Counter(name for row in rows_of(app.path) for name in names if f" {name} " in spaced(row["caption"]))
    shown = {one["concept"]: one["count"] for one in facts["sets"]["after"]["most_frequent"]}
    assert shown == dict(after)
    assert (facts["sets"]["after"]["captions"], facts["sets"]["after"]["unmatched"]) == (40, 0)
    assert facts["sets"]["before"]["captions"] == 150
    assert facts["threshold"] > 0
    assert (tmp_path / "out/coverage.png").read_bytes() == drawn
    assert drawn.startswith(b"\x89PNG")


def test_nothing_is_computed_or_written_when_only_the_figures_are_asked_for(app, at_once, bank, monkeypatch):
    words = ("captions.per_concept=30", "balance.target=40", "workers=1")
    assert app("submit", "stage=captions,balance", f"concepts.bank={bank}", *words).code == 0
    before = tree(app.path)
    monkeypatch.setattr("synthclip_hpc.curation.matching.Matcher.__init__", None)
    outcome = app("coverage")
    assert outcome.code == 0, outcome
    assert "captions in 150" in outcome.words
    assert "kept 40" in outcome.words
    assert tree(app.path) == before


def spaced(text: str) -> str:
    for mark in ",.;:?!`":
        text = text.replace(mark, f" {mark} ")
    return f" {text} "


def test_any_captions_are_measured_against_the_bank_and_no_run_is_made(app, bank, tmp_path):
    source = tmp_path / "mine.txt"
    source.write_text("a cat\na cat\nthe dog, and a cat\nnothing here\n")
    outcome = app("coverage", f"source={source}", f"concepts.bank={bank}", f"out={tmp_path / 'out'}")
    assert outcome.code == 0, outcome
    [found] = json.loads((tmp_path / "out/coverage.json").read_text())["sets"].values()
    assert (found["captions"], found["distinct"], found["unmatched"], found["matches"]) == (4, 3, 1, 4)
    assert found["most_frequent"] == [{"concept": "cat", "count": 3}, {"concept": "dog", "count": 1}]
    assert not app.path.exists()


def test_without_matplotlib_the_figures_are_written_and_the_picture_is_missed(app, bank, tmp_path, monkeypatch):
    source = tmp_path / "mine.txt"
    source.write_text("a cat\na dog\n")
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    outcome = app("coverage", f"source={source}", f"concepts.bank={bank}", f"out={tmp_path / 'out'}")
    assert (outcome.code, "pictures of coverage need matplotlib" in outcome.err) == (2, True), outcome
    assert f"written: {tmp_path / 'out/coverage.json'}" in outcome.out
    assert json.loads((tmp_path / "out/coverage.json").read_text())["sets"]["mine.txt"]["captions"] == 2


def test_a_run_that_has_not_balanced_is_told_what_to_do(app, at_once, bank):
    assert app("submit", "stage=captions", f"concepts.bank={bank}").code == 0
    outcome = app("coverage")
    assert (outcome.code, "not balanced yet" in outcome.words) == (2, True)


def test_a_mistake_in_the_captions_names_the_argument_that_gave_them(app, bank, tmp_path):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 not really")
    for path, words in ((tmp_path / "none.tsv", "there is no such file"), (broken, "cannot be read")):
        outcome = app("coverage", f"source={path}", f"concepts.bank={bank}")
        assert (outcome.code, words in outcome.words, "balance.source" in outcome.words) == (2, True, False)
        assert outcome.err.startswith("error: source")
