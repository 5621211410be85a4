"""What captions are: named by what they are, so that growing, reshaping or editing changes none that stays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sharding.ids import derive, item_id
from synthclip_hpc.captioning.engines.template import read_templates
from tests.synthclip_hpc.app import App, same_set

CONCEPTS = [f"concept {n}" for n in range(23)]


@pytest.fixture
def captions(app, at_once, tmp_path):
    """All captions of a fresh run, by default of 23 concepts, 2 a concept, in shards of 10 and batches of 4."""
    number = iter(range(1000))

    def make(*words: str, concepts: list[str] = CONCEPTS) -> list[dict]:
        bank = tmp_path / f"bank{next(number)}.txt"
        bank.write_text("\n".join(concepts), encoding="utf-8")
        run = App(bank.with_suffix(""))
        shape = ("captions.per_concept=2", "captions.shard_items=10", "captions.batch_items=4", "workers=1")
        assert run("submit", "stage=captions", f"concepts.bank={bank}", *shape, *words).code == 0
        assert run.status()["stages"]["captions"]["state"] == "done"
        make.run = run  # type: ignore[attr-defined]
        return run.captions()

    return make


def by_id(rows: list[dict]) -> dict[int, dict]:
    assert len({row["caption_id"] for row in rows}) == len(rows)
    return {row["caption_id"]: row for row in rows}


def test_the_layout_is_all_first_captions_then_all_second_ones(captions):
    rows = captions()
    assert [(row["concept"], row["n"]) for row in rows] == [(concept, n) for n in range(2) for concept in CONCEPTS]
    sizes = [len(pages) for pages in (range(start, min(start + 10, 46)) for start in range(0, 46, 10))]
    import pyarrow.parquet as pq

    paths = sorted((captions.run.path / "captions/write/data").rglob("*.parquet"))
    assert [pq.read_metadata(path).num_rows for path in paths] == sizes


def test_each_caption_is_its_concept_in_the_template_that_its_seed_draws(captions):
    templates = read_templates()
    assert len(templates) == 80
    for row in captions("seed=3"):
        assert row["caption_id"] == item_id(row["concept"], row["n"])
        assert row["concept_id"] == item_id("concept", row["concept"])
        assert row["seed"] == derive(3, row["caption_id"], "caption")
        assert row["prompt"] == templates[row["seed"] % 80]
        assert row["caption"] == row["prompt"].replace("{concept}", row["concept"])
        assert (row["model"], row["num_tries"], row["reject_reason"]) == ("template", 1, None)


def test_the_columns_are_those_of_the_format(captions):
    import pyarrow as pa
    import pyarrow.parquet as pq

    captions()
    [schema] = {pq.read_schema(path) for path in (captions.run.path / "captions/write/data").rglob("*.parquet")}
    assert [(field.name, field.type) for field in schema] == [
        ("caption_id", pa.uint64()),
        ("concept_id", pa.uint64()),
        ("concept", pa.string()),
        ("n", pa.int32()),
        ("caption", pa.string()),
        ("prompt", pa.string()),
        ("model", pa.string()),
        ("seed", pa.uint64()),
        ("num_tries", pa.int32()),
        ("reject_reason", pa.string()),
    ]


def test_more_captions_a_concept_leave_the_first_ones_as_they_are(captions):
    few, many = captions(), captions("captions.per_concept=5")
    assert len(many) == 115
    assert many[: len(few)] == few


def test_whole_shards_stay_the_same_bytes_when_captions_are_added(captions):
    captions("captions.shard_items=23")
    few = same_set(captions.run.path)
    captions("captions.shard_items=23", "captions.per_concept=4")
    many = same_set(captions.run.path)
    data = [name for name in few if "captions/write/data" in name]
    assert len(data) == 2
    assert all(few[name] == many[name] for name in data)


@pytest.mark.parametrize(
    "words", [("captions.shard_items=7",), ("captions.batch_items=3",), ("captions.shard_items=1000",)]
)
def test_shape_changes_no_caption(captions, words):
    assert captions(*words) == captions()


def test_editing_the_bank_changes_none_of_the_captions_that_stay(captions):
    before = by_id(captions())
    edited = ["new first", *reversed(CONCEPTS[3:]), "new last"]
    after = by_id(captions(concepts=edited))
    stayed = before.keys() & after.keys()
    assert len(stayed) == 2 * len(CONCEPTS[3:])
    assert {number: before[number] for number in stayed} == {number: after[number] for number in stayed}


def test_another_seed_writes_other_captions_with_the_same_ids(captions):
    one, two = by_id(captions("seed=1")), by_id(captions("seed=2"))
    assert one.keys() == two.keys()
    differing = sum(one[number]["caption"] != two[number]["caption"] for number in one)
    assert differing > len(one) // 2


@pytest.mark.parametrize("workers", [2, 5])
def test_the_bytes_do_not_depend_on_the_number_of_workers(captions, workers, tmp_path):
    captions("workers=1")
    alone = same_set(captions.run.path)
    bank = captions.run.path.with_suffix(".txt")
    many = App(tmp_path / "many")
    shape = ("captions.per_concept=2", "captions.shard_items=10", "captions.batch_items=4", f"workers={workers}")
    assert many("submit", "stage=captions", f"concepts.bank={bank}", *shape).code == 0
    [one] = many.submissions()
    assert one.num_elements == workers
    assert same_set(many.path) == alone


def test_awkward_concepts_come_through_whole(captions):
    concepts = [
        "{}",
        "{0}",
        "%s",
        "a\\b",
        '"quoted"',
        "שלום עולם",
        "🐕‍🦺",
        "e\u0301te\u0301",
        "日本語",
        "a,b\tc",
        "\u202eabc",
    ]
    rows = captions(concepts=concepts)
    written = [row["concept"] for row in rows[: len(concepts)]]
    assert written == [
        "{}",
        "{0}",
        "%s",
        "a\\b",
        '"quoted"',
        "שלום עולם",
        "🐕‍🦺",
        "été",
        "日本語",
        "a,b c",
        "\u202eabc",
    ]
    for row in rows:
        assert row["caption"] == row["prompt"].replace("{concept}", row["concept"])
        assert row["caption"].count(row["concept"]) >= 1


def test_counts_of_the_bank_reach_the_plan_and_the_seal(captions):
    import json

    captions(concepts=["a", "b", "a", "", "b", "x" * 300, "bad\x07"])
    plan = json.loads((captions.run.path / "concepts/read/plan.json").read_text())
    assert plan["identity"]["concepts.entries_read"] == 7
    assert plan["identity"]["concepts.not_kept"] == {
        "duplicate": 2,
        "empty": 1,
        "too_long": 1,
        "control_character": 1,
    }
    seal = json.loads((captions.run.path / "captions/write/seal.json").read_text())
    assert seal["totals"]["counts"] == {"total": 4, "done": 4, "rejected": 0, "rejects": {}}


def test_the_number_of_draws_is_spread_over_the_templates(captions):
    rows = captions("captions.per_concept=100", "captions.shard_items=1000", concepts=CONCEPTS)
    used = Counter(row["prompt"] for row in rows)
    assert len(used) == 80
    assert max(used.values()) < 3 * len(rows) / 80


def test_the_markers_promise_bytes_and_name_the_attempt(captions):
    import json

    captions()
    markers = [json.loads(path.read_text()) for path in (captions.run.path / "captions/write/markers").rglob("*.json")]
    assert len(markers) == 5
    assert {marker["promise"] for marker in markers} == {"bytes"}
    assert {marker["provenance"]["attempt"] for marker in markers} == {"local1_0_0"}
    assert isinstance(captions.run.path, Path)
