"""`preview`: a few captions and how they came about, without a run."""

from __future__ import annotations

import pytest

from tests.synthclip_hpc import scripted_engine
from tests.synthclip_hpc.test_own_engine import ENGINE


@pytest.fixture(autouse=True)
def fresh_script():
    scripted_engine.reset()
    yield
    scripted_engine.reset()


def test_prompt_answers_caption_and_verdict_are_shown_and_nothing_is_written(app):
    scripted_engine.script["red fox"] = ["I'm sorry, but I cannot.", 'Sure! Here it is:\n"A red fox in snow."']
    outcome = app("preview", "concept=red fox,oak", "n=1", ENGINE)
    assert outcome.code == 0, outcome
    assert "Your concept is {concept}." in outcome.out
    lines = [line.strip() for line in outcome.out.splitlines()]
    start = lines.index("red fox #1")
    assert lines[start + 1].startswith("answer 1 \"I'm sorry")
    assert lines[start + 2].startswith("answer 2 'Sure! Here it is:")
    assert lines[start + 3] == "caption  A red fox in snow."
    assert lines[lines.index("oak #1") + 2].startswith("caption  A oak number ")
    assert "2 of 2 captions passed" in outcome.out
    assert scripted_engine.opened == ["opened", "closed"]
    assert not app.path.exists()


def test_a_caption_that_never_passes_shows_why(app):
    scripted_engine.script["oak"] = [""]
    outcome = app("preview", "concept=oak", "n=2", "captions.max_tries=2", ENGINE)
    assert outcome.out.count("rejected empty") == 2
    assert "0 of 2 captions passed" in outcome.out


def test_without_concepts_the_first_of_the_bank_are_taken(app):
    outcome = app("preview", "concepts.bank=emoji", "n=1", "captions.engine=template")
    assert outcome.code == 0
    assert outcome.out.count(" #1") == 3


def test_the_captions_are_those_of_a_run(app, at_once, tmp_path):
    bank = tmp_path / "bank.txt"
    bank.write_text("red fox\noak\n")
    shown = app("preview", "concept=red fox,oak", "n=2", "captions.engine=template", "seed=5").out
    words = ("captions.per_concept=2", "captions.engine=template", "seed=5")
    assert app("submit", "stage=captions", f"concepts.bank={bank}", *words).code == 0
    written = [row["caption"] for row in app.captions()]
    assert [line.split(None, 1)[1] for line in shown.splitlines() if line.startswith("  caption")] == written


def test_no_captions_at_all_is_refused(app):
    outcome = app("preview", "n=0")
    assert (outcome.code, "n=0: wanted a whole number from 1" in outcome.words) == (2, True)
