"""Damaged files: verify finds them (exit 1), repair reopens the shards, resume makes the same bytes again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.synthclip_hpc.app import same_set, tree

WORDS = ("stage=captions", "concepts.limit=40", "captions.shard_items=10", "captions.batch_items=4", "workers=2")
MARKER = "captions/write/markers/000/00001.json"
OUTPUT = "captions/write/data/000/00001.parquet"


@pytest.fixture
def finished(app, at_once):
    assert app("submit", *WORDS).code == 0
    assert app.status()["stages"]["captions"]["state"] == "done"
    return app


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "marker torn": lambda run: (run / MARKER).write_bytes((run / MARKER).read_bytes()[:40]),
    "marker empty": lambda run: (run / MARKER).write_bytes(b""),
    "marker binary": lambda run: (run / MARKER).write_bytes(bytes(range(256))),
    "marker no object": lambda run: (run / MARKER).write_text("[1, 2]\n"),
    "marker of another shard": lambda run: (run / MARKER).write_bytes(
        (run / MARKER.replace("00001", "00002")).read_bytes()
    ),
    "marker missing": lambda run: (run / MARKER).unlink(),
    "output truncated": lambda run: (run / OUTPUT).write_bytes((run / OUTPUT).read_bytes()[:-100]),
    "output empty": lambda run: (run / OUTPUT).write_bytes(b""),
    "output changed in place": lambda run: flip(run / OUTPUT),
    "output missing": lambda run: (run / OUTPUT).unlink(),
    "output of another shard": lambda run: (run / OUTPUT).write_bytes(
        (run / OUTPUT.replace("00001", "00002")).read_bytes()
    ),
    "seal torn": lambda run: (run / "captions/write/seal.json").write_text('{"schema": 1'),
    "seal changed": lambda run: flip(run / "captions/write/seal.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_reopened_and_made_good_with_the_same_bytes(finished, damage):
    before = same_set(finished.path)
    assert finished("verify").code == 0
    DAMAGES[damage](finished.path)
    damaged = {path: data for path, data in tree(finished.path).items() if data is not None}
    found = finished("verify")
    assert found.code == 1, found
    assert "python -m synthclip_hpc.repair" in found.out
    assert "captions/write: " in found.out
    repaired = finished("repair")
    assert repaired.code == 0, repaired
    # Nothing is deleted: whatever is no longer in its place lies in bad/.
    kept = [data for data in tree(finished.path).values() if data is not None]
    assert all(data in kept for data in damaged.values())
    assert finished("resume").code == 0
    assert same_set(finished.path) == before
    after = finished("verify")
    assert after.code == 0, after
    assert "captions/write: 4 of 4 shards done, 0 problems" in after.out


def test_verify_changes_nothing(finished):
    for damage in (None, "marker torn", "output truncated"):
        if damage:
            DAMAGES[damage](finished.path)
        before = tree(finished.path)
        finished("verify")
        assert tree(finished.path) == before


def test_repair_of_a_sound_run_changes_nothing(finished):
    before = tree(finished.path)
    outcome = finished("repair")
    assert (outcome.code, outcome.out) == (0, "nothing to repair\n")
    assert tree(finished.path) == before


@pytest.mark.parametrize("damage", [name for name in DAMAGES if not name.startswith("seal")])
def test_damage_in_an_unfinished_phase_is_made_good_by_resume(app, at_once, damage):
    """Without a seal, resume itself looks at the markers and at the sizes of the outputs."""
    assert app("submit", *WORDS).code == 0
    before = same_set(app.path)
    (app.path / "captions/write/seal.json").unlink()
    DAMAGES[damage](app.path)
    found = app("verify")
    if damage == "marker missing":
        assert found.code == 0, found  # the shard is simply not done yet; its output is adopted
    else:
        assert found.code == 1, found
        assert app("repair").code == 0
    assert app("resume").code == 0
    assert same_set(app.path) == before


def test_a_torn_journal_costs_no_shard_and_status_still_counts(finished):
    before = same_set(finished.path)
    [journal, *_] = sorted((finished.path / "captions/write/journals").glob("local1_0_0.jsonl"))
    journal.write_bytes(journal.read_bytes()[:-25] + b"\n\x00\xff{]\n" + b'{"event": "progr')
    captions = finished.status()["stages"]["captions"]
    assert (captions["state"], captions["shards_done"], captions["items_done"]) == ("done", 4, 40)
    assert finished("status", "--once").code == 0
    assert finished("verify").code == 0
    assert finished("resume").code == 0
    assert same_set(finished.path) == before


def test_an_event_that_only_a_newer_version_knows_does_not_stop_status(finished):
    line = '{"event": "a newer word", "time": 1}'
    (finished.path / "captions/write/journals/local9_0_0.jsonl").write_text(line + "\n")
    captions = finished.status()["stages"]["captions"]
    assert (captions["state"], captions["shards_done"], captions["items_done"]) == ("done", 4, 40)


def test_all_journals_lost_costs_nothing_but_their_story(finished):
    for path in (finished.path / "captions/write/journals").iterdir():
        path.unlink()
    captions = finished.status()["stages"]["captions"]
    assert (captions["state"], captions["items_done"], captions["attempts"]) == ("done", 40, 0)


def newer(path: Path) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"schema": 99}))


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("captions/write/plan.json", ("resume", "submit", "verify", "repair")),
        ("submissions/00001-captions/record.json", ("status", "cancel", "repair")),
        ("captions/write/seal.json", ("resume", "submit")),
    ],
)
def test_a_file_of_a_newer_version_is_refused_by_name(finished, name, commands):
    newer(finished.path / name)
    before = tree(finished.path)
    for verb in commands:
        outcome = finished(verb, *(WORDS if verb == "submit" else ()))
        assert outcome.code == 2, (verb, outcome)
        assert name in outcome.err and "schema" in outcome.err
    assert tree(finished.path) == before


def test_a_run_toml_of_a_newer_version_is_refused_by_name(finished):
    path = finished.path / "run.toml"
    path.write_text(path.read_text().replace("schema = 1", "schema = 2"))
    before = tree(finished.path)
    for verb in ("status", "resume", "submit", "verify", "repair"):
        outcome = finished(verb, *(("stage=captions",) if verb == "submit" else ()))
        assert outcome.code == 2, (verb, outcome)
        assert "schema 2" in outcome.err
    assert tree(finished.path) == before


def test_a_marker_of_a_newer_version_is_no_marker_for_this_one(finished):
    newer(finished.path / MARKER)
    found = finished("verify")
    assert found.code == 1
    assert "schema 99" in found.out


@pytest.mark.parametrize(
    "text", ["", "schema = 1\nseed = 'x'\n", "schema = 1\nsed = 3\n", "\xff\xfe", "schema = [", "seed = 1\n"]
)
def test_a_damaged_run_toml_is_refused_by_name(finished, text):
    path = finished.path / "run.toml"
    path.write_text(text, encoding="latin-1")
    for verb in ("status", "resume"):
        outcome = finished(verb)
        assert outcome.code == 2, outcome
        assert str(path) in outcome.err


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"schema": 1}', b"\xff", b'{"schema": "1"}', b"null"])
@pytest.mark.parametrize("name", ["captions/write/plan.json", "submissions/00001-captions/record.json"])
def test_a_damaged_plan_or_record_is_refused_by_name(finished, name, data):
    (finished.path / "captions/write/seal.json").unlink()
    (finished.path / name).write_bytes(data)
    for verb in ("resume", "repair"):
        outcome = finished(verb)
        assert outcome.code == 2, (verb, outcome)
        assert name in outcome.err


@pytest.mark.parametrize("verb", ["submit", "resume"])
def test_a_finished_run_is_told_so_whatever_became_of_its_submissions(finished, verb):
    (finished.path / "submissions/00001-captions/record.json").write_bytes(b"{")
    before = tree(finished.path)
    outcome = finished(verb, *(WORDS if verb == "submit" else ()))
    assert outcome.code == 0, outcome
    assert "captions/write: done (4 of 4 shards sealed)" in outcome.out
    assert tree(finished.path) == before


@pytest.mark.parametrize("name", ["plan", "seal"])
def test_status_tells_of_a_damaged_plan_or_seal_and_goes_on(finished, name):
    (finished.path / f"captions/write/{name}.json").write_bytes(b"{")
    stages = finished.status()["stages"]
    assert (stages["captions"]["state"], stages["concepts"]["state"]) == ("failed", "done")
    assert name in stages["captions"]["message"]


def test_a_provenance_that_lost_the_run_id_is_told(finished):
    from synthclip_hpc.errors import UserError

    finished.run.provenance_path.write_text("{}")
    with pytest.raises(UserError, match=r"provenance\.json"):
        finished.run.job_name("captions", "write")
