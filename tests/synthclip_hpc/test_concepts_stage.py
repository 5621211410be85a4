"""The concept table: which concepts a run is about, where they came from, and that nothing of it is lost or hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sharding.ids import item_id
from synthclip_hpc.captioning.banks.bank import read_bank
from tests.synthclip_hpc.app import App

CONCEPTS = [f"concept {n}" for n in range(30)]


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join([*CONCEPTS, "concept 1", ""]))
    return path


def rows(run: App) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(run.path / "concepts/read/data/000/00000.parquet").to_pylist()
    return found


def read_json(run: App, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run.path / "concepts/read" / name).read_text(encoding="utf-8"))
    return value


def marker(run: App) -> dict[str, Any]:
    return read_json(run, "markers/000/00000.json")


def another(run: App, name: str) -> App:
    return App(run.path.with_name(name))


def test_the_table_has_a_row_a_concept_in_the_order_of_the_bank(app, bank):
    assert app("submit", "stage=concepts", f"concepts.bank={bank}").code == 0
    assert rows(app) == [
        {"concept_id": item_id("concept", concept), "concept": concept, "reject_reason": None} for concept in CONCEPTS
    ]


def test_a_drawn_sample_is_written_down_and_the_same_whenever_it_is_drawn(app, bank):
    words = ("stage=concepts", f"concepts.bank={bank}", "concepts.sample=7")
    again, other = another(app, "again"), another(app, "other")
    assert [run("submit", *words, f"seed={seed}").code for run, seed in ((app, 5), (again, 5), (other, 6))] == [0] * 3
    drawn = [row["concept"] for row in rows(app)]
    assert drawn == list(read_bank(str(bank), sample=7, seed=5).concepts)
    assert len(set(drawn)) == 7 and set(drawn) < set(CONCEPTS)
    assert rows(again) == rows(app) != rows(other)


def test_every_caption_names_its_concept_for_a_whole_bank_and_for_a_sample(app, at_once, bank):
    sampled = another(app, "sampled")
    words = ("stage=captions", f"concepts.bank={bank}", "captions.per_concept=2", "captions.shard_items=8")
    assert app("submit", *words).code == 0
    assert sampled("submit", *words, "concepts.sample=7").code == 0
    for run, count in ((app, 30), (sampled, 7)):
        named = [(row["concept_id"], row["concept"]) for row in run.captions()]
        assert named == [(row["concept_id"], row["concept"]) for row in rows(run)] * 2
        assert len(named) == 2 * count


def test_the_marker_tells_source_and_selection_and_the_plan_does_not(app, bank):
    assert app("submit", "stage=concepts", f"concepts.bank={bank}", "concepts.sample=7", "seed=5").code == 0
    told = marker(app)["provenance"]["concepts"]
    assert told == {
        "source": read_bank(str(bank)).source,
        "summary": "7 concepts from words.txt (1 duplicate, 23 not selected left out)",
        "limit": 0,
        "sample": 7,
        "seed": 5,
    }
    assert "words.txt" not in json.dumps([read_json(app, "plan.json"), read_json(app, "seal.json")])


def test_the_same_words_from_another_file_are_the_same_bank(app, bank, tmp_path):
    (tmp_path / "moved.json").write_text(json.dumps([*CONCEPTS, "concept 1"]))
    moved = another(app, "moved")
    assert app("submit", "stage=concepts", f"concepts.bank={bank}").code == 0
    assert moved("submit", "stage=concepts", f"concepts.bank={tmp_path}/moved.json").code == 0
    assert read_json(moved, "seal.json") == read_json(app, "seal.json")
    sources = [marker(run)["provenance"]["concepts"]["source"].split()[0] for run in (app, moved)]
    assert sources == ["words.txt", "moved.json"]


def test_submit_tells_what_became_of_the_bank(app, at_once, bank, tmp_path):
    (tmp_path / "unsafe.txt").write_text("CONCEPT 3\nother\n")
    words = (f"concepts.bank={bank}", f"concepts.exclude={tmp_path}/unsafe.txt")
    line = (
        "bank:   30 concepts from words.txt (1 duplicate left out; "
        "1 excluded by unsafe.txt, 1 of its entries not in the bank: other)\n"
    )
    assert app("submit", "stage=concepts", *words).out.count(line) == 1
    assert app("submit", "stage=captions").out.count(line) == 1


def test_a_marker_without_these_facts_is_no_trouble(app, bank):
    assert app("submit", "stage=concepts", f"concepts.bank={bank}").code == 0
    path = app.path / "concepts/read/markers/000/00000.json"
    value = json.loads(path.read_text())
    del value["provenance"]["concepts"]
    path.write_text(json.dumps(value))
    outcome = app("resume")
    assert (outcome.code, "bank:" in outcome.out, "concepts/read: done" in outcome.out) == (0, False, True)


def test_excluded_concepts_are_rows_with_a_reason_and_counted_as_rejects(app, bank, tmp_path):
    (tmp_path / "unsafe.txt").write_text("CONCEPT 3\nconcept 29\n")
    words = ("stage=concepts", f"concepts.bank={bank}", f"concepts.exclude={tmp_path}/unsafe.txt")
    assert app("submit", *words).code == 0
    assert [row["concept"] for row in rows(app)] == CONCEPTS
    assert {row["concept"]: row["reject_reason"] for row in rows(app) if row["reject_reason"]} == {
        "concept 3": "excluded",
        "concept 29": "excluded",
    }
    counts = {"total": 30, "done": 28, "rejected": 2, "rejects": {"excluded": 2}}
    assert marker(app)["counts"] == read_json(app, "seal.json")["totals"]["counts"] == counts
    assert app("verify").code == 0


def test_editing_the_list_of_a_started_run_is_refused_with_the_difference(app, bank, tmp_path):
    exclude = tmp_path / "unsafe.txt"
    exclude.write_text("concept 3\n")
    assert app("submit", "stage=concepts", f"concepts.bank={bank}", f"concepts.exclude={exclude}").code == 0
    exclude.write_text("concept 3\nunknown\n")
    assert app("submit", "stage=concepts").code == 0
    exclude.write_text("concept 3\nconcept 4\n")
    outcome = app("submit", "stage=concepts")
    assert outcome.code == 2
    assert "concepts.excluded" in outcome.err
    exclude.unlink()
    assert app("resume").code == 0


def test_the_path_of_the_list_is_kept_absolute(app, bank, tmp_path, monkeypatch):
    (tmp_path / "unsafe.txt").write_text("concept 3\n")
    assert Path.cwd() == tmp_path
    assert app("submit", "stage=concepts", "concepts.bank=words.txt", "concepts.exclude=unsafe.txt").code == 0
    assert app.run.load_config().concepts.exclude == str(tmp_path / "unsafe.txt")
    monkeypatch.chdir("/")
    assert app("submit", "stage=concepts").code == 0


def test_a_built_in_bank_as_list_stays_a_name(app, bank):
    assert app("submit", "stage=concepts", f"concepts.bank={bank}", "concepts.exclude=emoji").code == 0
    assert app.run.load_config().concepts.exclude == "emoji"


def test_a_table_that_lost_its_marker_is_adopted_only_with_the_same_exclusions(app, bank, tmp_path):
    (tmp_path / "unsafe.txt").write_text("concept 3\n")
    words = ("stage=concepts", f"concepts.bank={bank}", f"concepts.exclude={tmp_path}/unsafe.txt")
    assert app("submit", *words).code == 0
    sealed = read_json(app, "seal.json")
    phase = app.path / "concepts/read"
    plain = another(app, "plain")
    assert plain("submit", *words[:2]).code == 0
    for source in (phase / "data/000/00000.parquet", plain.path / "concepts/read/data/000/00000.parquet"):
        data = source.read_bytes()
        (phase / "data/000/00000.parquet").unlink()
        (phase / "data/000/00000.parquet").write_bytes(data)
        (phase / "markers/000/00000.json").unlink()
        (phase / "seal.json").unlink()
        assert app("resume").code == 0
        assert read_json(app, "seal.json") == sealed
    assert len(list((phase / "bad").iterdir())) == 1
