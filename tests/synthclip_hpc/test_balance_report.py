"""The last phase of `balance`: every caption accounted for, and coverage as a plain count of the texts finds it."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sharding.journal import read_events
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.balance.accounting import Accounting
from synthclip_hpc.stages.balance.coverage import make_report
from synthclip_hpc.stages.balance.report import read_report
from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.test_balance import rows_of, spaced

BANK = ["cat", "dog", "red fox", "rose", "x-ray", "zebra", "x, y", "secret"]
TEXTS = [
    *(f"a cat in picture {n}" for n in range(60)),
    *(f"a dog and a cat , {n}" for n in range(30)),
    *["a red fox"] * 4,
    *["a rose, a dog"] * 3,
    *(f"nothing known {n % 5}" for n in range(9)),
    "an x-ray of a cat",
    "a secret",
]


@pytest.fixture
def report(app, at_once, tmp_path):
    """Balance captions from elsewhere; returns the JSON of the report."""
    bank, unsafe = tmp_path / "bank.json", tmp_path / "unsafe.txt"
    bank.write_text(json.dumps(BANK))
    unsafe.write_text("secret\n")
    number = iter(range(100))

    def make(source: Path, *words: str) -> dict:
        run = App(tmp_path / f"run{next(number)}")
        make.run = run  # type: ignore[attr-defined]
        given = (f"concepts.bank={bank}", f"concepts.exclude={unsafe}", f"balance.source={source}", "workers=1")
        make.outcome = run("submit", "stage=balance", *given, *words)  # type: ignore[attr-defined]
        assert make.outcome.code == 0, make.outcome  # type: ignore[attr-defined]
        return json.loads(file_of(run).read_text())

    return make


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


def file_of(run: App) -> Path:
    return run.path / "balance/coverage/data/000/00000.json"


def named(text: str) -> list[str]:
    return [entry for entry in BANK if f" {entry} " in spaced(text) and entry != "secret"]


def naive_figures(texts: list[str], distinct: int) -> dict:
    counts = Counter(entry for text in texts for entry in named(text))
    shares = [count / counts.total() for count in counts.values()]
    order = sorted(BANK, key=lambda entry: (-counts[entry], BANK.index(entry)))
    return {
        "captions": len(texts),
        "distinct": distinct,
        "unmatched": sum(not named(text) for text in texts),
        "matches": counts.total(),
        "concepts": len(BANK),
        "seen": [{"times": times, "concepts": sum(n >= times for n in counts.values())} for times in (1, 25, 50)],
        "mean_count": sum(n for n in counts.values() if n >= 25) / max(1, sum(n >= 25 for n in counts.values())),
        "most_frequent": [{"concept": entry, "count": counts[entry]} for entry in order if counts[entry]],
        "words_histogram": [
            {"words": words, "captions": n} for words, n in sorted(Counter(len(t.split()) for t in texts).items())
        ],
        "long_tail": {"rose": counts["rose"], "x-ray": counts["x-ray"]},
        "entropy": -sum(share * math.log2(share) for share in shares),
    }


def figures_of(found: dict) -> dict:
    wanted = naive_figures(["a cat"], 1).keys() - {"entropy", "long_tail"}
    in_bank = {concept: count for concept, count in found["long_tail"].items() if count is not None}
    return {**{key: found[key] for key in wanted}, "long_tail": in_bank, "entropy": found["entropy_bits"]}


@pytest.mark.parametrize("words", [(), ("balance.match_items=7", "balance.shard_items=5"), ("balance.mode=random",)])
def test_coverage_is_that_of_a_plain_count_before_and_after(report, texts, words):
    facts = report(texts, "balance.target=40", *words)
    usable = {text for text in TEXTS if named(text)}
    kept = [row["caption"] for row in rows_of(report.run.path)]
    assert len(kept) == 40
    for name, captions, distinct in (("before", TEXTS, len(usable)), ("after", kept, 40)):
        wanted = naive_figures(captions, distinct)
        found = figures_of(facts["sets"][name])
        assert found.pop("entropy") == pytest.approx(wanted.pop("entropy"), rel=1e-12)
        assert found == wanted
    assert (facts["threshold"] is None) == ("balance.mode=random" in words)
    assert (facts["concepts"], facts["never_matching"]) == (len(BANK), 1)


def test_every_caption_is_accounted_for(report, texts):
    facts = report(texts, "balance.target=40")
    usable = len({text for text in TEXTS if named(text)})
    matched = sum(bool(named(text)) for text in TEXTS)
    assert facts["accounting"] == {
        "captions_in": len(TEXTS),
        "rejects": {"duplicate": matched - usable, "no_match": len(TEXTS) - matched},
        "usable": usable,
        "not_selected": usable - 40,
        "kept": 40,
    }
    assert matched - usable == 5
    assert len(TEXTS) - matched == 10  # the excluded concept is not looked for


def test_the_report_is_the_same_however_the_work_is_cut(report, texts):
    report(texts, "balance.target=40")
    usual = file_of(report.run).read_bytes()
    report(texts, "balance.target=40", "balance.match_items=11", "balance.shard_items=3", "slurm.elements=3")
    assert file_of(report.run).read_bytes() == usual


def test_every_reason_to_reject_a_row_is_counted_and_adds_up(report, tmp_path):
    rows = [b"1\t\ta cat", b"2\t\ta cat", b"x\t\ta dog", b"3\t\t\xff", b"4\t\t ", b"5\ta cat", b"6\ttoo_long\ta dog"]
    more = [b"7\t\tnothing", b"8\t\ta dog", b"9\t\ta rose"]
    source = tmp_path / "rows.tsv"
    source.write_bytes(b"caption_id\treject_reason\tcaption\n" + b"".join(row + b"\n" for row in [*rows, *more]))
    facts = report(source, "balance.target=2")
    rejects = {
        "bad_number": 1,
        "duplicate": 1,
        "empty": 1,
        "invalid_utf8": 1,
        "no_match": 1,
        "rejected_upstream": 1,
        "wrong_columns": 1,
    }
    assert facts["accounting"] == {"captions_in": 10, "rejects": rejects, "usable": 3, "not_selected": 1, "kept": 2}
    assert facts["sets"]["before"]["captions"] == 5


def test_captions_rejected_at_writing_are_accounted_for(app, at_once, tmp_path):
    bank, unsafe = tmp_path / "bank.txt", tmp_path / "unsafe.txt"
    bank.write_text("cat\ndog\nphoto\nart\n")
    unsafe.write_text("dog\n")
    words = (f"concepts.bank={bank}", f"concepts.exclude={unsafe}", "captions.per_concept=20", "balance.target=9")
    assert app("submit", "stage=captions,balance", *words, "workers=1").code == 0
    found = json.loads(file_of(app).read_text())
    captions = [row for row in app.captions() if row["reject_reason"] is None]
    accounting = found["accounting"]
    assert (accounting["captions_in"], accounting["rejects"]["caption_concept_excluded"]) == (80, 20)
    assert sum(accounting["rejects"].values()) + accounting["usable"] == 80
    assert accounting["not_selected"] + 9 == accounting["usable"] == len({row["caption"] for row in captions})
    assert found["sets"]["before"]["captions"] == len(captions) == 60


def test_captions_without_a_match_come_first_where_they_are_kept_and_leave_room(report, texts):
    unmatched = {text for text in TEXTS if not named(text)}
    facts = report(texts, "balance.target=40", "balance.keep_unmatched=true")
    kept = {row["caption"] for row in rows_of(report.run.path)}
    assert unmatched < kept
    assert (len(unmatched), len(kept)) == (6, 40)
    assert facts["accounting"]["rejects"] == {"duplicate": len(TEXTS) - len(set(TEXTS))}
    assert (facts["sets"]["before"]["unmatched"], facts["sets"]["after"]["unmatched"]) == (10, 6)
    assert facts["sets"]["before"]["distinct"] == len(set(TEXTS))


@pytest.mark.parametrize("target", [3, 6])
def test_a_set_of_nothing_but_captions_without_a_match_is_refused(report, texts, target):
    with pytest.raises(FileNotFoundError):
        report(texts, f"balance.target={target}", "balance.keep_unmatched=true")
    stage = report.run.status()["stages"]["balance"]
    assert stage["state"] == "failed"
    assert f"balance.target={target}: 6 captions name no concept" in stage["message"]
    assert report(texts, "balance.target=7", "balance.keep_unmatched=true")["accounting"]["kept"] == 7
    # In mode random nothing has a privilege, and so there is nothing to refuse.
    words = ("balance.keep_unmatched=true", "balance.mode=random")
    assert report(texts, f"balance.target={target}", *words)["accounting"]["kept"] == target


def test_without_matplotlib_the_report_is_made_and_the_journal_says_that_there_is_no_picture(
    report, texts, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    report(texts, "balance.target=40")
    directory = report.run.run.phase("balance", "coverage")
    assert not (report.run.path / "report").exists()
    events = [event for name in directory.attempts() for event in read_events(directory.journal_path(name))[0]]
    [event] = [event for event in events if event["event"] == "no_picture"]
    assert "matplotlib" in event["message"]
    assert "there was no matplotlib" in report.run("coverage").words


def test_submit_tells_the_accounting_of_a_finished_stage(report, texts):
    report(texts, "balance.target=40")
    again = report.run("submit", "stage=balance", "wait=true")
    for outcome in (report.outcome, again):
        assert outcome.code == 0
        assert "balance/coverage: captions in 108 rejected 15 10 no_match, 5 duplicate" in outcome.words
        assert "kept 40" in outcome.words


def test_a_count_that_is_wrong_is_no_report(report, texts):
    report(texts, "balance.target=40")
    run = report.run.run
    config = run.load_config()
    path = run.phase("balance", "count").data_path(0, ".parquet")
    table = pq.read_table(path)
    facts = {**table.schema.metadata, b"usable": b"94"}
    pq.write_table(pa.table(table.columns, schema=table.schema.with_metadata(facts)), path)
    with pytest.raises(ValueError, match=r"108 captions came in, but 15 rejected and 94 usable are 109"):
        make_report(config, run, lambda: None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"captions_in": 11}, "11 captions came in"), ({"kept": 4}, "of 7 usable"), ({"rejects": {"x": -1}}, "below 0")],
)
def test_counts_that_do_not_add_up_are_refused(changes, words):
    right = {"captions_in": 10, "rejects": {"no_match": 3}, "usable": 7, "not_selected": 2, "kept": 5}
    Accounting.from_json(right)
    with pytest.raises(ValueError, match=words):
        Accounting.from_json({**right, **changes})


def test_a_damaged_report_is_told_as_what_it_is(report, texts):
    report(texts, "balance.target=40")
    path = file_of(report.run)
    whole = path.read_bytes()
    assert read_report(path).to_bytes() == whole
    wrong_sum, no_field = whole.replace(b'"kept": 40', b'"kept": 41'), whole.replace(b'"seen"', b'"sen"')
    for damaged in (whole[:100], b"[]", wrong_sum, no_field):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            read_report(path)
    assert "is damaged" in report.run("submit", "stage=balance").words
