"""`preview`: a few captions and how they came about, without a run."""

from __future__ import annotations

import zlib
from typing import ClassVar

import pytest

from synthclip_hpc.captioning.banks.bank import read_bank
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
    assert lines[start + 1 : start + 5] == [
        """answer 1 "I'm sorry, but I cannot.\"""",
        """rejected refusal: "I'm sorry, but I cannot.\"""",
        """answer 2 'Sure! Here it is:\\n"A red fox in snow."'""",
        "caption  A red fox in snow.",
    ]
    assert lines[lines.index("oak #1") + 2].startswith("caption  A oak number ")
    assert "2 of 2 captions passed" in outcome.out
    assert scripted_engine.opened == ["opened", "closed"]
    assert not app.path.exists()


def test_a_caption_that_never_passes_shows_why(app):
    scripted_engine.script["oak"] = [""]
    outcome = app("preview", "concept=oak", "n=2", "captions.max_tries=2", ENGINE)
    assert outcome.out.count("rejected empty: ''") == 4
    assert "0 of 2 captions passed" in outcome.out


def concepts_of(outcome) -> list[str]:
    assert outcome.code == 0, outcome
    return [line.removesuffix(" #1") for line in outcome.out.splitlines() if line.endswith(" #1")]


def test_without_concepts_three_of_the_bank_are_drawn_with_the_seed_and_none_that_is_excluded(app, tmp_path):
    words = ("preview", "n=1", "captions.engine=template")
    first, again, other = (concepts_of(app(*words, f"seed={seed}")) for seed in (1, 1, 2))
    assert first == again == list(read_bank("wordnet", sample=3, seed=1).concepts)
    assert len({*first, *other}) == 6
    bank, unsafe = tmp_path / "bank.txt", tmp_path / "unsafe.txt"
    bank.write_text("a\nb\nc\nd\ne\n")
    unsafe.write_text("b\nc\nd\n")
    assert concepts_of(app(*words, f"concepts.bank={bank}", f"concepts.exclude={unsafe}")) == ["a", "e"]


def test_concepts_are_normalised_as_a_bank_does_and_one_with_a_comma_is_known_by_the_bank(app, tmp_path):
    bank = tmp_path / "bank.txt"
    bank.write_text("oak\nWashington, D.C.\n")

    def concepts(given: str) -> list[str]:
        return concepts_of(
            app("preview", f"concept={given}", f"concepts.bank={bank}", "n=1", "captions.engine=template")
        )

    assert concepts(" cafe\u0301   noir ,oak,,oak") == ["caf\u00e9 noir", "oak"]
    assert concepts("Washington,  D.C.") == ["Washington, D.C."]
    assert concepts("Paris, France") == ["Paris", "France"]
    assert concepts("a\u202eb") == ["a\\u202eb"]


@pytest.mark.parametrize(
    ("given", "words"), [("x" * 257, "1 too long"), ("a,b\x9b31m", "1 control character"), (",", "nothing in it")]
)
def test_what_no_bank_would_take_is_refused(app, given, words):
    outcome = app("preview", f"concept={given}", "captions.engine=template")
    assert (outcome.code, words in outcome.words, "concept='" in outcome.words) == (2, True, True), outcome
    assert "\x9b" not in outcome.err


class ByCompany(scripted_engine.ScriptedEngine):
    """Its answers depend on everything that a batch has: an answer in other company, or at another try, is another."""

    def generate(self, batch):
        company = zlib.crc32(repr(batch).encode()) % 9973
        self.__class__.sizes.append(len(batch))
        return [
            "" if (request.seed + company) % 3 == 0 else f"A {request.concept} number {company} at dawn."
            for request in batch
        ]

    sizes: ClassVar[list[int]] = []


@pytest.mark.parametrize("engine", ["captions.engine=template", ENGINE])
def test_the_captions_are_those_of_a_run_in_shards_and_batches(app, at_once, tmp_path, monkeypatch, engine):
    monkeypatch.setattr(scripted_engine, "ScriptedEngine", ByCompany)
    bank = tmp_path / "bank.txt"
    bank.write_text("red fox\noak\nhill\n")
    words = (engine, "seed=5", "captions.shard_items=7", "captions.batch_items=3", "captions.max_tries=2")
    shown = app("preview", "concept=red fox,oak,hill", "n=4", *words)
    sizes = list(ByCompany.sizes)
    assert (
        app("submit", "stage=captions", f"concepts.bank={bank}", "captions.per_concept=4", "workers=1", *words).code
        == 0
    )
    assert ByCompany.sizes == sizes * 2
    rows = app.captions()
    written = [row["caption"] for row in rows if row["caption"]]
    assert [
        line.removeprefix("  caption  ") for line in shown.out.splitlines() if line.startswith("  caption")
    ] == written
    assert shown.out.count("  answer ") == sum(row["num_tries"] for row in rows)
    assert f"{len(written)} of 12 captions passed" in shown.out
    if engine == ENGINE:
        assert [*sizes[:1], len(rows)] == [3, 12] and {row["num_tries"] for row in rows} == {1, 2}
    ByCompany.sizes.clear()


def test_no_captions_at_all_is_refused(app):
    outcome = app("preview", "n=0")
    assert (outcome.code, "n=0: wanted a whole number from 1" in outcome.words) == (2, True)
