"""That every caption id names one caption, and that duplicates of a text are dropped early and counted once."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synthclip_hpc.stages.balance import ids
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.test_balance import rows_of


def put_source(folder: Path, name: str, rows: list[tuple[int, str]]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [f"{caption_id}\t{caption}\n" for caption_id, caption in rows]
    (folder / name).write_text("caption_id\tcaption\n" + "".join(lines))
    return folder


def words_of(tmp_path: Path, source: Path, *words: str) -> tuple[str, ...]:
    bank = tmp_path / "bank.txt"
    bank.write_text("cat\ndog\n")
    return ("submit", "stage=balance", f"concepts.bank={bank}", f"balance.source={source}", "workers=2", *words)


def seal_counts(run: App, phase: str) -> dict:
    counts: dict = json.loads((run.path / "balance" / phase / "seal.json").read_text())["totals"]["counts"]
    return counts


def facts_of_count(run: App) -> dict[str, int]:
    [path] = run.path.glob("balance/count/data/*/*")
    metadata = pq.read_metadata(path).metadata
    return {name: int(metadata[name.encode()]) for name in ("usable", "duplicates")}


@pytest.mark.parametrize("mode", ["balanced", "random"])
@pytest.mark.parametrize("checked_rows", [1 << 21, 3])
def test_one_id_for_two_captions_of_different_files_is_refused_by_name(
    app, at_once, tmp_path, monkeypatch, mode, checked_rows
):
    monkeypatch.setattr(ids, "CHECKED_ROWS", checked_rows)
    source = put_source(tmp_path / "s", "a.tsv", [(n, f"a cat {n}") for n in range(20)])
    put_source(source, "b.tsv", [(n, f"a dog {n}") for n in range(19, 30)])
    words = words_of(tmp_path, source, "balance.target=12", f"balance.mode={mode}", "balance.match_items=7")
    assert app(*words).code == 0
    stage = app.status()["stages"]["balance"]
    assert stage["state"] == "failed"
    told = f"balance.source={source}: caption_id 19 names two captions, 'a cat 19' and 'a dog 19'; give each caption"
    assert told in stage["message"]
    assert not (app.path / "balance/cut/data").exists()


@pytest.mark.parametrize("checked_rows", [1 << 21, 3])
def test_ids_of_their_own_and_one_caption_twice_under_its_id_are_no_mistake(
    app, at_once, tmp_path, monkeypatch, checked_rows
):
    monkeypatch.setattr(ids, "CHECKED_ROWS", checked_rows)
    source = put_source(tmp_path / "s", "a.tsv", [(n, f"a cat {n}") for n in range(20)])
    put_source(source, "b.tsv", [(n, f"a cat {n}") for n in range(10, 25)])
    assert app(*words_of(tmp_path, source, "balance.target=25", "balance.match_items=7")).code == 0
    assert sorted(row["caption_id"] for row in rows_of(app.path)) == list(range(25))


def test_one_id_for_the_captions_of_many_files_is_told_with_its_first_two_texts(app, at_once, tmp_path):
    for name, numbers in (("a.tsv", range(5, 9)), ("b.tsv", range(4)), ("c.tsv", range(9, 12))):
        source = put_source(tmp_path / "s", name, [(7, f"a cat {n:02d}") for n in numbers])
    assert app(*words_of(tmp_path, source, "balance.target=2", "balance.match_items=2")).code == 0
    message = app.status()["stages"]["balance"]["message"]
    assert "caption_id 7 names two captions, 'a cat 00' and 'a cat 01'; give each caption" in message


@pytest.mark.parametrize(("match_items", "in_match"), [(100, 12), (10, 6), (1, 0)])
def test_duplicates_are_counted_once_wherever_they_are_found(app, at_once, tmp_path, match_items, in_match):
    # Three times ten texts, of which each third row repeats the one before it; the ids go down: the smallest stays.
    texts = [f"a cat {n // 3 * 2 + min(n % 3, 1)}" for n in range(18)] + [f"a cat {n}" for n in range(6)] + ["a bird"]
    source = put_source(tmp_path / "s", "a.tsv", [(1000 - n, text) for n, text in enumerate(texts)])
    words = words_of(tmp_path, source, "balance.target=12", f"balance.match_items={match_items}")
    assert app(*words).code == 0
    counts = seal_counts(app, "match")
    assert counts["rejects"] == {"no_match": 1} | ({"duplicate": in_match} if in_match else {})
    assert (counts["total"], counts["done"]) == (25, 24 - in_match)
    assert facts_of_count(app) == {"usable": 12, "duplicates": 12}
    smallest: dict[str, int] = {}
    for n, text in enumerate(texts[:-1]):
        smallest[text] = 1000 - n
    assert {row["caption"]: row["caption_id"] for row in rows_of(app.path)} == smallest
