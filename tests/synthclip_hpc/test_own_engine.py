"""The captions stage with an engine of one's own: what it is asked, what becomes of its answers, and when it fails."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

from synthclip_hpc.captioning.prompts import find_prompts
from tests.synthclip_hpc import scripted_engine
from tests.synthclip_hpc.app import App, same_set

ENGINE = "captions.engine=tests.synthclip_hpc.scripted_engine:open_scripted"
SHAPE = ("captions.shard_items=8", "captions.batch_items=4", "workers=1", "captions.model=my-model")


@pytest.fixture(autouse=True)
def fresh_script():
    scripted_engine.reset()
    yield
    scripted_engine.reset()


@pytest.fixture
def submit(app, at_once, tmp_path):
    """Submit the captions of some concepts; returns the exit code's outcome."""

    def call(concepts: list[str], *words: str, run: App = app):
        bank = tmp_path / "bank.json"
        bank.write_text(json.dumps(concepts), encoding="utf-8")
        return run("submit", "stage=captions", f"concepts.bank={bank}", ENGINE, *SHAPE, *words)

    return call


def test_the_engine_gets_the_papers_prompt_with_the_concept_in_it_and_is_opened_once(app, submit):
    concepts = [f"concept {n}" for n in range(20)]
    assert submit(concepts).code == 0
    assert [request.concept for request in scripted_engine.asked] == concepts
    assert {request.prompt for request in scripted_engine.asked} == {
        find_prompts("paper").draw(0).replace("{concept}", concept) for concept in concepts
    }
    assert len({request.seed for request in scripted_engine.asked}) == 20
    assert scripted_engine.opened == ["opened", "closed"]
    assert {row["model"] for row in app.captions()} == {"tests.synthclip_hpc.scripted_engine:open_scripted my-model"}
    assert {row["prompt"] for row in app.captions()} == {find_prompts("paper").draw(0)}


def test_rejects_are_asked_again_and_what_stays_rejected_is_a_row_with_its_reason(app, submit):
    long = "A fox sits on a hill while many small birds fly over old houses in warm evening light."
    scripted_engine.script |= {
        "late": [long, "", '"A cat that came late."'],
        "long": [long],
        "silent": [""],
        "sorry": ["I'm sorry, but I cannot help with that."],
    }
    assert submit(["late", "long", "silent", "sorry", "plain"], "captions.max_tries=3").code == 0
    rows = {row["concept"]: row for row in app.captions()}
    assert {concept: (row["num_tries"], row["reject_reason"]) for concept, row in rows.items()} == {
        "late": (3, None),
        "long": (3, "too_long"),
        "silent": (3, "empty"),
        "sorry": (3, "refusal"),
        "plain": (1, None),
    }
    assert rows["late"]["caption"] == "A cat that came late."
    assert rows["long"]["caption"] is None
    assert Counter(request.concept for request in scripted_engine.asked) == {
        "late": 3, "long": 3, "silent": 3, "sorry": 3, "plain": 1,
    }  # fmt: skip
    stage = app.status()["stages"]["captions"]
    assert (stage["state"], stage["items_done"], stage["items_rejected"], stage["items_total"]) == ("done", 2, 3, 5)


def test_a_model_that_answers_nothing_ends_in_counted_rejects_and_not_in_a_loop(app, submit):
    concepts = [f"concept {n}" for n in range(10)]
    scripted_engine.script |= {concept: [""] for concept in concepts}
    assert submit(concepts, "captions.max_tries=2").code == 0
    assert len(scripted_engine.asked) == 20
    assert Counter(row["reject_reason"] for row in app.captions()) == {"empty": 10}
    assert app.status()["stages"]["captions"]["items_rejected"] == 10


def test_an_engine_that_dies_in_a_batch_loses_that_batch_and_resume_gives_the_same_bytes(app, submit, tmp_path):
    concepts = [f"concept {n}" for n in range(8)]
    calm = App(tmp_path / "calm")
    assert submit(concepts, run=calm).code == 0
    scripted_engine.reset()
    scripted_engine.dies_after.append(4)
    assert submit(concepts).code == 0
    stage = app.status()["stages"]["captions"]
    assert (stage["state"], stage["failures"]) == ("failed", 1)
    assert "illegal memory access" in json.dumps(stage)
    scripted_engine.asked.clear()
    assert app("resume").code == 0
    assert [request.concept for request in scripted_engine.asked] == concepts[4:]
    assert same_set(app.path) == same_set(calm.path)


def test_odd_concepts_reach_the_engine_whole_or_are_counted(app, submit):
    concepts = ["\u05db\u05dc\u05d1", "🦊", "a\x00b", "x" * 10_000, "{concept}", "na\u0308ive  cafe\u0301", "\u202eabc"]
    assert submit(concepts).code == 0
    assert [request.concept for request in scripted_engine.asked] == [
        "\u05db\u05dc\u05d1", "🦊", "{concept}", "n\u00e4ive caf\u00e9", "\u202eabc",
    ]  # fmt: skip
    assert "Your concept is {concept}." in scripted_engine.asked[2].prompt
    plan = json.loads((app.path / "concepts/read/plan.json").read_text())
    assert plan["identity"]["concepts.not_kept"] == {"control_character": 1, "too_long": 1}


def test_an_excluded_concept_keeps_its_row_and_is_never_asked_about(app, submit, tmp_path):
    (tmp_path / "unsafe.txt").write_text("Concept 2\nconcept 5\n")
    concepts = [f"concept {n}" for n in range(9)]
    assert submit(concepts, f"concepts.exclude={tmp_path / 'unsafe.txt'}").code == 0
    rows = app.captions()
    assert [row["concept"] for row in rows] == concepts
    assert {row["concept"]: row["num_tries"] for row in rows if row["caption"] is None} == {
        "concept 2": 0,
        "concept 5": 0,
    }
    assert {row["reject_reason"] for row in rows} == {None, "concept_excluded"}
    assert {request.concept for request in scripted_engine.asked} == set(concepts) - {"concept 2", "concept 5"}
    counts = app.status()["stages"]["captions"]
    assert (counts["items_done"], counts["items_rejected"]) == (7, 2)


def test_excluding_moves_no_other_concept_into_another_batch(submit, tmp_path, monkeypatch):
    (tmp_path / "unsafe.txt").write_text("concept 2\nconcept 5\n")
    batches: list[list[str]] = []
    answer = scripted_engine.ScriptedEngine.generate

    def recording(self, batch):
        batches.append([request.concept[-1] for request in batch])
        return answer(self, batch)

    monkeypatch.setattr(scripted_engine.ScriptedEngine, "generate", recording)
    assert submit([f"concept {n}" for n in range(9)], f"concepts.exclude={tmp_path / 'unsafe.txt'}").code == 0
    assert batches == [list("013"), list("467"), list("8")]


def test_every_table_names_the_bank_that_it_was_made_from(app, submit):
    import pyarrow.parquet as pq

    assert submit([f"concept {n}" for n in range(20)]).code == 0
    [plan] = [json.loads(path.read_text()) for path in app.path.glob("captions/write/plan.json")]
    paths = [path for path in app.path.rglob("*.parquet") if "data" in path.parts]
    assert len(paths) == 4
    assert {pq.read_schema(path).metadata[b"concepts.sha256"].decode() for path in paths} == {
        plan["identity"]["concepts.sha256"]
    }


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("templat", "did you mean 'template'"),
        ("no_such_module_here:open", "No module named 'no_such_module_here'"),
        ("no_such_package.module:open", "No module named 'no_such_package.module'"),
        ("not a module..:open", "No module named 'not a module..'"),
        ("json:", "no such engine"),
        ("json:no-name", "no such engine"),
    ],
)
def test_an_engine_that_is_not_there_is_named(app, at_once, engine, words):
    outcome = app("submit", "stage=captions", "concepts.bank=emoji", "concepts.limit=2", f"captions.engine={engine}")
    assert (outcome.code, words in outcome.words, app.path.exists()) == (2, True, False), outcome


def test_a_function_that_is_not_there_is_found_out_by_the_worker(app, at_once):
    words = ("concepts.bank=emoji", "concepts.limit=2", "captions.engine=json:no_such_function")
    assert app("submit", "stage=captions", *words).code == 0
    assert "has no attribute 'no_such_function'" in json.dumps(app.status())


def test_a_module_in_the_folder_of_the_submission_is_found_as_workers_find_it(app, tmp_path, monkeypatch):
    (tmp_path / "mine_alone.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "elsewhere").mkdir()
    words = ("stage=captions", "concepts.bank=emoji", "captions.engine=mine_alone:open", "dry-run=true")
    assert app("submit", *words).code == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert app("submit", *words).code == 2


def test_a_module_is_looked_for_by_the_python_of_the_nodes_and_not_in_a_container(app, fake_slurm, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "theirs"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    words = ("cluster=slurm", "stage=captions", "concepts.bank=emoji", "captions.engine=theirs_alone:open")
    more = (f"slurm.python={python}", "dry-run=true")
    outcome = app("submit", *words, *more)
    assert (outcome.code, f"by slurm.python={python}" in outcome.words) == (2, True), outcome
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "theirs_alone.py").touch()
    assert app("submit", *words, *more).code == 0
    assert app("submit", *words, "dry-run=true").code == 2
    assert app("submit", *words, "slurm.container=apptainer exec x.sif", "dry-run=true").code == 0


def test_a_prompt_file_that_changed_since_the_plan_is_refused_by_the_worker(app, submit, tmp_path, monkeypatch):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Say something about {concept}.")
    scripted_engine.dies_after.append(0)
    assert submit(["a", "b"], f"captions.prompt={prompt}").code == 0
    prompt.write_text("Say nothing about {concept}.")
    outcome = app("resume")
    assert outcome.code == 2
    assert "captions.prompt.sha256" in outcome.words
    prompt.write_text("Say something about {concept}.")
    assert app("resume").code == 0
    assert [row["prompt"] for row in app.captions()] == ["Say something about {concept}."] * 2


def open_lonely(config: object) -> None:
    """An opener of the wrong shape."""


def test_an_opener_of_another_shape_is_told_and_not_a_traceback(app):
    outcome = app("preview", "concept=oak", "captions.engine=tests.synthclip_hpc.test_own_engine:open_lonely")
    assert (outcome.code, "open_lonely(config, model) cannot be called so" in outcome.words) == (2, True), outcome
