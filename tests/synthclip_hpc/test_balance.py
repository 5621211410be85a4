"""The stage `balance` on a run's own captions: exact size, nothing lost, and the same however the work is cut."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sharding.ids import derive, item_id
from tests.synthclip_hpc.app import App, same_set

CONCEPTS = [*(f"c{n}" for n in range(40)), "photo", "red fox", "fox", "art", "x, y"]
MODES = ("balanced", "random")
CAPTIONS = ("captions.per_concept=12", "captions.shard_items=37", "seed=3")


@pytest.fixture
def balanced(app, at_once, tmp_path):
    """Submit captions and balance in one chain; returns the rows of the set in order."""
    bank = tmp_path / "bank.json"
    number = iter(range(1000))

    def make(*words: str, captions: tuple[str, ...] = CAPTIONS) -> list[dict]:
        bank.write_text(json.dumps(CONCEPTS))
        run = App(tmp_path / f"run{next(number)}")
        make.run = run  # type: ignore[attr-defined]
        outcome = run("submit", "stage=captions,balance", f"concepts.bank={bank}", *captions, "workers=2", *words)
        assert outcome.code == 0, outcome
        make.outcome = outcome  # type: ignore[attr-defined]
        return rows_of(run.path)

    return make


def rows_of(run: Path) -> list[dict]:
    paths = sorted((run / "balance/cut/data").rglob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def spaced(text: str) -> str:
    for mark in ",.;:?!`":
        text = text.replace(mark, f" {mark} ")
    return f" {text} "


def naive_matches(text: str) -> list[int]:
    return [place for place, entry in enumerate(CONCEPTS) if f" {entry} " in spaced(text)]


def test_the_set_has_the_size_asked_for_and_its_rows_are_captions_of_the_run(balanced):
    rows = balanced("balance.target=200", "balance.shard_items=64")
    captions = {row["caption_id"]: row for row in balanced.run.captions()}
    assert [row["position"] for row in rows] == list(range(200))
    assert len({row["caption"] for row in rows}) == 200
    for row in rows:
        original = captions[row["caption_id"]]
        assert {key: row[key] for key in ("concept_id", "concept", "n", "caption")} == {
            key: original[key] for key in ("concept_id", "concept", "n", "caption")
        }
        ids = [item_id("concept", CONCEPTS[place]) for place in naive_matches(row["caption"])]
        assert sorted(row["matched_concept_ids"]) == sorted(ids)
        assert row["source"] == "captions"
    sizes = [pq.read_metadata(path).num_rows for path in sorted(balanced.run.path.glob("balance/cut/data/*/*"))]
    assert sizes == [64, 64, 64, 8]
    assert balanced.run.status()["stages"]["balance"]["state"] == "done"


def test_the_order_is_that_of_the_keyed_hash_of_each_id(balanced):
    rows = balanced("balance.target=300")
    keys = [derive(3, row["caption_id"], "shuffle") for row in rows]
    assert keys == sorted(keys)
    assert [row["n"] for row in rows] != sorted(row["n"] for row in rows)


@pytest.mark.parametrize(
    "words",
    [
        ("balance.match_items=1000",),
        ("balance.match_items=97",),
        ("balance.match_items=7",),
        ("balance.match_items=97", "slurm.elements=8", "workers=8"),
    ],
)
def test_the_set_is_the_same_however_the_work_is_cut(balanced, words):
    usual = balanced("balance.target=250", "balance.shard_items=50")
    before = cut_bytes(balanced.run.path)
    other = balanced("balance.target=250", "balance.shard_items=50", *words)
    assert other == usual
    assert cut_bytes(balanced.run.path) == before


def test_the_bytes_of_the_set_are_the_same_for_any_number_of_caption_shards(balanced):
    found = []
    for shards, shard_items in ((1, 765), (7, 110), (64, 12)):
        words = ("captions.per_concept=17", f"captions.shard_items={shard_items}", "captions.batch_items=2", "seed=3")
        balanced("balance.target=250", "balance.shard_items=50", "balance.match_items=100", captions=words)
        assert len(list(balanced.run.path.glob("captions/write/data/*/*.parquet"))) == shards
        found.append(cut_bytes(balanced.run.path))
    assert len(found[0]) == 5
    assert found[0] == found[1] == found[2]


def test_more_matches_than_a_column_can_count_are_told_with_the_key_to_turn(balanced, monkeypatch):
    monkeypatch.setattr("synthclip_hpc.stages.balance.shared.MAX_MATCHES", 50)
    assert balanced("balance.target=100", "balance.match_items=500") == []
    message = run_state(balanced.run)["message"]
    assert "matches in one task, at most 50 can be; use a smaller balance.match_items" in message


def cut_bytes(run: Path) -> dict[str, str]:
    return {name: value for name, value in same_set(run).items() if name.startswith("balance/cut/data")}


def run_state(run: App) -> dict:
    return run.status()["stages"]["balance"]


def usable_of(run: App) -> list[dict]:
    """Distinct captions that name a concept: of those with one text, the one with the smallest id."""
    first: dict[str, dict] = {}
    for row in run.captions():
        if naive_matches(row["caption"]):
            kept = first.setdefault(row["caption"], row)
            first[row["caption"]] = min(kept, row, key=lambda one: one["caption_id"])
    return list(first.values())


def test_every_usable_caption_is_kept_with_mode_none_and_all_others_are_counted(balanced):
    balanced("balance.mode=none")
    run = balanced.run
    assert "balance/cut: not yet" in balanced.outcome.out
    stage = run_state(balanced.run)
    assert (stage["state"], "balance/cut can be planned now: resume" in stage["message"]) == ("partial", True)
    assert run("resume").code == 0
    usable = usable_of(run)
    assert sorted(row["caption_id"] for row in rows_of(run.path)) == sorted(row["caption_id"] for row in usable)
    # The template "x, y" holds a mark, so its concept can never match; its captions may name others.
    [seal] = [json.loads((run.path / "balance/match/seal.json").read_text())]
    counts = seal["totals"]["counts"]
    unmatched = sum(1 for row in run.captions() if not naive_matches(row["caption"]))
    assert (counts["total"], counts["rejects"].get("no_match", 0)) == (540, unmatched)
    table = pq.read_table(next(run.path.glob("balance/count/data/*/*")))
    facts = {key.decode(): int(value) for key, value in table.schema.metadata.items()}
    assert facts == {"usable": len(usable), "duplicates": 540 - unmatched - len(usable), "never_matching": 1}
    counted = Counter(place for row in usable for place in naive_matches(row["caption"]))
    assert table.column("captions").to_pylist() == [counted[place] for place in range(len(CONCEPTS))]


@pytest.mark.parametrize("target", [1, 17, "all"])
def test_the_target_is_met_exactly_up_to_all_usable_captions(balanced, target):
    if target == "all":
        balanced("balance.target=1")
        target = len(usable_of(balanced.run))
    assert len(balanced(f"balance.target={target}")) == target


def test_a_larger_set_only_adds_captions(balanced):
    small = {row["caption_id"] for row in balanced("balance.target=60")}
    large = {row["caption_id"] for row in balanced("balance.target=240")}
    assert small < large


def test_more_than_can_come_in_is_refused_by_submit(app, tmp_path):
    words = ("concepts.bank=emoji", "concepts.limit=7", "captions.per_concept=2", "balance.target=15")
    outcome = app("submit", "stage=captions,balance", *words)
    assert (outcome.code, "balance.target=15: only 14 captions come in" in outcome.words) == (2, True)
    assert not app.path.exists()


def test_a_bank_edited_after_the_captions_is_told_as_what_it_is(app, at_once, tmp_path):
    bank = tmp_path / "bank.txt"
    bank.write_text("cat\ndog\n")
    assert app("submit", "stage=captions", f"concepts.bank={bank}").code == 0
    bank.write_text("cat\ndog\nfox\n")
    outcome = app("submit", "stage=balance", "balance.target=2")
    assert outcome.code == 2
    assert "concepts.sha256: recorded" in outcome.words
    assert "balance.target" not in outcome.words


def test_an_excluded_concept_is_not_looked_for(balanced, tmp_path):
    (tmp_path / "unsafe.txt").write_text("photo\n")
    rows = balanced("balance.target=100", f"concepts.exclude={tmp_path / 'unsafe.txt'}")
    unsafe = item_id("concept", "photo")
    assert any(" photo " in spaced(row["caption"]) for row in rows)
    assert all(unsafe not in row["matched_concept_ids"] for row in rows)


def test_a_damaged_selection_is_told_and_not_a_traceback(balanced):
    balanced("balance.mode=none")
    [path] = balanced.run.path.glob("balance/select/data/*/*.npz")
    path.write_bytes(path.read_bytes()[:100])
    outcome = balanced.run("resume")
    assert (outcome.code, "is damaged" in outcome.words) == (2, True)


def test_more_than_there_is_fails_with_the_largest_possible_number_and_writes_nothing(balanced):
    assert balanced("balance.target=540") == []
    run = balanced.run
    stage = run.status()["stages"]["balance"]
    largest = len(usable_of(run))
    assert stage["state"] == "failed"
    assert f"use balance.target={largest} at most" in stage["message"]
    assert not (run.path / "balance/cut/data").exists()


def test_captions_of_which_none_can_be_used_fail_with_what_became_of_them(app, at_once, tmp_path):
    bank, source = tmp_path / "bank.txt", tmp_path / "captions.tsv"
    bank.write_text("zebra\n")
    source.write_text("caption\na cat\na dog\n\n")
    words = ("stage=balance", f"concepts.bank={bank}", f"balance.source={source}", "balance.mode=none", "workers=1")
    assert app("submit", *words).code == 0
    stage = app.status()["stages"]["balance"]
    assert stage["state"] == "failed"
    assert "no caption can be used (1 empty, 2 no_match)" in stage["message"]


def test_captions_from_elsewhere_are_balanced_without_a_captions_stage(app, at_once, tmp_path):
    bank, source = tmp_path / "bank.txt", tmp_path / "captions.txt"
    bank.write_text("cat\ndog\n")
    source.write_text("".join(f"a cat number {n}\n" for n in range(50)) + "a dog\na dog\n")
    words = (f"concepts.bank={bank}", f"balance.source={source}", "balance.target=10", "workers=2")
    assert app("submit", "stage=balance", *words, "balance.match_items=9").code == 0
    rows = rows_of(app.path)
    assert len({row["caption_id"] for row in rows}) == 10
    assert "a dog" in [row["caption"] for row in rows]  # the rare concept stays
    assert {row["concept"] for row in rows} == {None}
    source.write_text("".join(f"a cat called {n}\n" for n in range(52)))
    assert app("submit", "stage=balance", *words, "balance.match_items=9").code == 2


def test_with_allow_short_it_goes_on_with_what_there_is(balanced):
    balanced("balance.target=100000", "balance.allow_short=true")
    assert balanced.run("resume").code == 0
    assert len(rows_of(balanced.run.path)) == len(usable_of(balanced.run))


def test_balancing_thins_out_what_is_frequent_and_a_random_choice_does_not(balanced, monkeypatch):
    # The captions of `u, 1` name no more than what all templates have in common: a photo, art.
    rare, frequent = [f"c{n}" for n in range(20)], [f"u, {n}" for n in range(20)]
    monkeypatch.setitem(globals(), "CONCEPTS", [*rare, *frequent, "photo", "art"])

    def share_of_frequent(rows: list[dict]) -> float:
        return sum(row["concept"] in frequent for row in rows) / len(rows)

    chosen = {mode: share_of_frequent(balanced("balance.target=150", f"balance.mode={mode}")) for mode in MODES}
    assert chosen["balanced"] < 0.5 * chosen["random"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "balance.target is missing"),
        (("balance.target=0",), "balance.target=0: wanted how many captions"),
        (("balance.t=0",), "balance.t=0.0: wanted a threshold above 0"),
        (("balance.target=5", "balance.t=3"), "give one of the two"),
        (("balance.mode=none", "balance.target=5"), "balance.mode=none keeps every caption"),
        (("balance.mode=random", "balance.t=5"), "which balance.mode=random does not use"),
        (("balance.mode=blanced", "balance.target=5"), "did you mean 'balanced'"),
        (("balance.case=upper", "balance.target=5"), "Valid: exact, first-word, fold"),
        (("balance.shard_items=0", "balance.target=5"), "balance.shard_items=0: wanted a whole number from 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_anything_is_written(app, words, told):
    outcome = app("submit", "stage=captions,balance", "concepts.bank=emoji", *words)
    assert (outcome.code, told in outcome.words) == (2, True), outcome
    assert not app.path.exists()


def test_another_target_is_refused_once_the_stage_has_started(balanced):
    balanced("balance.target=100")
    outcome = balanced.run("submit", "stage=balance", "balance.target=101")
    assert (outcome.code, "balance.target: the run has 100, asked 101" in outcome.words) == (2, True)
