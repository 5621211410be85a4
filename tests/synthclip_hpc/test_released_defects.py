"""What goes wrong in the paper's released caption generator (`TextGen/captions_generator.py`), shown absent here.

Each test names the defect. Those with tests of their own elsewhere: the double BOS token (test_chat.py), the two
prompts that differ (test_prompts.py), half a model folder taken for a whole one (test_models.py), a random sample of
the bank that is neither seeded nor kept (test_bank.py, test_concepts_stage.py).
"""

from __future__ import annotations

import json

import pytest

from tests.synthclip_hpc import scripted_engine
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.test_own_engine import ENGINE

CONCEPTS = [f"concept {n}" for n in range(12)]


@pytest.fixture(autouse=True)
def fresh_script():
    scripted_engine.reset()
    yield
    scripted_engine.reset()


@pytest.fixture
def captions(app, at_once, tmp_path):
    """The rows of a run over CONCEPTS."""

    def make(*words: str, name: str = "run") -> list[dict]:
        bank = tmp_path / "bank.txt"
        bank.write_text("\n".join(CONCEPTS))
        run = App(tmp_path / name)
        shape = ("captions.shard_items=6", "captions.batch_items=3", "workers=1")
        assert run("submit", "stage=captions", f"concepts.bank={bank}", ENGINE, *shape, *words).code == 0
        return run.captions()

    return make


def test_the_seed_was_hidden_and_is_now_given_and_recorded(captions, tmp_path):
    first, again = captions("seed=7"), captions("seed=7", name="again")
    assert first == again
    assert captions("seed=8", name="other") != first
    assert len({row["seed"] for row in first}) == len(CONCEPTS)
    plan = json.loads((tmp_path / "run/captions/write/plan.json").read_text())
    assert plan["identity"]["seed"] == 7


def test_the_concept_was_not_stored_and_is_now_a_column_with_its_id(captions):
    rows = captions("concepts.sample=5")
    assert [row["concept"] for row in rows] == [
        concept for concept in CONCEPTS if concept in {r["concept"] for r in rows}
    ]
    assert all(row["concept"] in row["caption"] for row in rows)
    assert len({row["concept_id"] for row in rows}) == 5


def test_more_captions_a_concept_were_further_runs_over_the_bank_and_are_now_a_number(captions):
    rows = captions("captions.per_concept=3")
    assert [(row["concept"], row["n"]) for row in rows] == [(concept, n) for n in range(3) for concept in CONCEPTS]
    assert len({row["caption_id"] for row in rows}) == 36


def test_a_crash_lost_everything_and_now_costs_the_batch_in_the_making(captions, app):
    scripted_engine.dies_after.append(9)
    assert len(captions()) == 6  # the first shard stands
    scripted_engine.asked.clear()
    assert app("resume").code == 0
    assert [request.concept for request in scripted_engine.asked] == CONCEPTS[9:]
    assert len(app.captions()) == 12


def test_a_second_run_overwrote_the_first_and_now_leaves_it_alone(captions, app, tmp_path):
    captions()
    before = {path: path.stat().st_mtime_ns for path in app.path.rglob("*.parquet")}
    scripted_engine.asked.clear()
    captions()
    assert scripted_engine.asked == []
    assert {path: path.stat().st_mtime_ns for path in app.path.rglob("*.parquet")} == before
    bank = f"concepts.bank={tmp_path / 'bank.txt'}"
    assert app("submit", "stage=captions", bank, ENGINE, "seed=9").code == 2
    assert {path: path.stat().st_mtime_ns for path in app.path.rglob("*.parquet")} == before


def test_a_caption_with_a_line_break_vanished_later_and_is_now_one_line(captions):
    scripted_engine.script["concept 4"] = ["Here is your caption:\n\nA fox in\tthe snow.\n\n(5 words)"]
    rows = captions()
    assert rows[4]["caption"] == "A fox in the snow."
    assert not any("\n" in row["caption"] for row in rows)
    assert len(rows) == len(CONCEPTS)


def test_whatever_the_model_said_became_a_caption_and_is_now_checked(captions):
    scripted_engine.script["concept 3"] = ["I cannot fulfill this request."]
    rows = captions()
    assert (rows[3]["caption"], rows[3]["reject_reason"], rows[3]["num_tries"]) == (None, "refusal", 3)
    assert sum(row["caption"] is not None for row in rows) == len(CONCEPTS) - 1


def test_the_model_was_fetched_at_import_and_is_now_looked_for_before_the_job(app):
    outcome = app("submit", "stage=captions", "concepts.bank=emoji", "captions.engine=vllm", "captions.model=no/model")
    assert outcome.code == 2
    assert "hf download no/model" in outcome.words or "huggingface_hub is needed" in outcome.words
    assert not app.path.exists()


def test_an_abbreviated_option_worked_by_chance_and_a_wrong_key_is_now_refused_with_the_nearest(app):
    outcome = app("submit", "stage=captions", "captions.per_concepts=2")
    assert (outcome.code, "captions.per_concept" in outcome.words) == (2, True)
