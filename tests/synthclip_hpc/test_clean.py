"""Housekeeping: what goes, what stays, and that every command works on a cleaned run as before."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import pytest

from sharding.marker import shard_marker
from slurm.attempt import Attempt
from slurm.signals import StopFlag
from synthclip_hpc import worker
from synthclip_hpc.clean import survey
from synthclip_hpc.housekeeping.ground import CLOCK_SLACK_S
from synthclip_hpc.processes import identify
from synthclip_hpc.submissions import load_submission, update
from tests.synthclip_hpc.app import App, call, same_set, tree
from tests.synthclip_hpc.test_slurm_submission import SMALL, row

SET_UP = ("concepts.bank=emoji", "concepts.limit=40", "captions.shard_items=10", "balance.target=20")
WORDS = ("stage=captions,balance", *SET_UP, "balance.shard_items=10", "workers=2")
KEPT = ("run.toml", "provenance.json", "plan.json", "inputs.json", "seal.json", "record.json", "shards.json")
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small run as the local supervisor and its worker processes leave it."""
    path = tmp_path_factory.mktemp("finished") / "run"
    outcome = call("submit", *WORDS, f"run={path}", "cluster=local", "wait=true")
    assert outcome.code == 0, outcome
    return path


@pytest.fixture
def run(app, finished) -> App:
    """A copy of it, to change."""
    import shutil

    shutil.copytree(finished, app.path, symlinks=True)
    return app


def kinds(app: App) -> dict[str, int]:
    return {heap.kind.split(" (")[0]: heap.num_files for heap in survey(app.run) if heap.num_files}


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def put(path: Path, seconds: float = DAY_S) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    age(path, seconds)
    return path


def lasting(app: App) -> dict[str, bytes | None]:
    """What must stay: outputs, journals, plans, seals and records."""
    found = tree(app.path)
    return {
        name: content
        for name, content in found.items()
        if content is not None and (Path(name).name in KEPT or {"data", "journals", "bad"} & set(Path(name).parts))
    }


def test_a_dry_run_shows_kinds_files_and_sizes_and_removes_nothing(run):
    before = tree(run.path)
    outcome = run("clean", "dry-run=true")
    assert outcome.code == 0, outcome
    assert tree(run.path) == before
    lines = {line.rpartition("  ")[0].rsplit(None, 1)[0].strip(): line.split() for line in outcome.out.splitlines()}
    markers = list(run.path.glob("*/*/markers/*/*.json"))
    several = [path for path in markers if len(list(path.parents[1].rglob("*.json"))) > 1]
    told = next(line for line in outcome.out.splitlines() if line.startswith("markers of sealed phases"))
    assert f" {len(several)} " in told
    assert len(several) >= 6
    assert any(line.startswith("all") for line in lines)


def test_what_goes_and_what_stays(run):
    kept = lasting(run)
    outcome = run("clean", "yes=true")
    assert outcome.code == 0, outcome
    assert lasting(run) == kept
    assert list(run.path.rglob("*.log")) == []
    assert [path.name for path in (run.path / "captions/write/markers").iterdir()] == ["folded.jsonl"]
    assert kinds(run) == {}
    assert "nothing to clean" in run("clean", "yes=true").out


def test_every_command_works_on_a_cleaned_run_as_before(run):
    def look() -> dict:
        stages = run.status()["stages"]
        return {
            name: {key: stage[key] for key in ("state", "shards_done", "items_done", "items_rejected", "attempts")}
            for name, stage in stages.items()
        }

    before, markers = look(), [shard_marker(run.run.phase("captions", "write"), shard) for shard in range(4)]
    verified = run("verify").out
    assert run("clean", "yes=true").code == 0
    assert look() == before
    assert [shard_marker(run.run.phase("captions", "write"), shard) for shard in range(4)] == markers
    assert run("verify").out == verified
    assert "nothing to repair" in run("repair").out
    submissions = len(run.submissions())
    resumed = run("resume")
    assert resumed.code == 0, resumed
    assert len(run.submissions()) == submissions
    assert "captions/write: done (4 of 4 shards sealed)" in resumed.out


def test_a_shard_that_is_damaged_after_cleaning_is_found_reopened_and_made_again(run, at_once):
    same = same_set(run.path)
    assert run("clean", "yes=true").code == 0
    output = run.run.phase("captions", "write").data_path(2, ".parquet")
    output.write_bytes(output.read_bytes()[:-1] + b"?")
    outcome = run("verify")
    assert outcome.code == 1
    assert "shard 2" in outcome.out
    assert "reopened 1 shards: 2" in run("repair").out
    assert run.status()["stages"]["captions"]["shards_done"] < run.status()["stages"]["captions"]["shards_total"]
    resumed = run("resume")
    assert resumed.code == 0, resumed
    assert same_set(run.path) == same
    assert run("verify").code == 0
    new = run.submissions()[-1]
    assert (new.stage, new.shards()) == ("captions", [2])


def test_a_run_without_seal_after_cleaning_is_sealed_again_with_the_same_bytes(run):
    assert run("clean", "yes=true").code == 0
    seal = run.run.phase("captions", "write").seal_path
    before = seal.read_bytes()
    seal.unlink()
    assert "all 4 shards were there; sealed now" in run("resume").out
    assert seal.read_bytes() == before


def test_a_late_attempt_at_a_cleaned_phase_finds_all_done(run):
    assert run("clean", "yes=true").code == 0
    before = tree(run.path)
    [one] = [one for one in run.submissions() if one.stage == "captions"]
    attempt = Attempt("local1", 0, 7, "lost")
    assert worker.run_attempt(run.run, one, attempt, 0, StopFlag()) == "completed"
    after = tree(run.path)
    assert set(after) - set(before) == {"captions/write/journals/local1_0_7.jsonl"}


def test_cleaning_killed_after_any_file_goes_on_when_called_again(run, monkeypatch, tmp_path):
    """Each removal in turn is the last thing that a killed `clean` does."""
    import shutil

    from sharding import files
    from synthclip_hpc.housekeeping import heap

    expected = App(tmp_path / "expected")
    shutil.copytree(run.path, expected.path, symlinks=True)
    assert expected("clean", "yes=true").code == 0
    names = set(tree(expected.path))
    remove = files.remove
    same = same_set(run.path)
    rounds = 0
    while kinds(run):
        calls: list[Path] = []

        def last(path: Path) -> None:
            if len(calls) == 3:  # noqa: B023
                raise KeyboardInterrupt
            calls.append(path)  # noqa: B023
            remove(path)

        with monkeypatch.context() as killed:
            killed.setattr(files, "remove", last)
            killed.setattr(heap, "remove", last)
            assert run("clean", "yes=true").code in (0, 130)
        assert run.status()["stages"]["captions"]["shards_done"] == 4
        assert run("verify").code == 0
        rounds += 1
        assert rounds < 60
    assert rounds > 3
    assert set(tree(run.path)) == names
    assert same_set(run.path) == same


def test_logs_of_failures_stay(run):
    directory = run.run.phase("captions", "write")
    path = directory.journal_path("local1_1_0")
    lines = path.read_text().splitlines()
    assert json.loads(lines[-1])["reason"] == "completed"
    path.write_text("\n".join([*lines[:-1], lines[-1].replace('"completed"', '"failed"')]) + "\n")
    assert run("clean", "yes=true").code == 0
    assert [log.name for log in run.path.rglob("*.log")] == ["00001-captions_1.log"]


def test_a_life_that_was_killed_before_one_that_completed_is_no_failure(run):
    directory = run.run.phase("captions", "write")
    start = json.loads(directory.journal_path("local1_0_0").read_text().splitlines()[0])
    killed = {**start, "time": start["time"] - 10, "attempt": "local1_0_0"}
    path = directory.journal_path("local1_0_0")
    path.write_text(json.dumps(killed) + "\n" + path.read_text())
    assert run("clean", "yes=true").code == 0
    assert list(run.path.rglob("*.log")) == []


def test_an_unfinished_phase_is_left_as_it_is(run):
    directory = run.run.phase("captions", "write")
    directory.seal_path.unlink()
    partial = put(directory.partial_path(0, "9_9_9"))
    markers = sorted((directory.path / "markers").rglob("*"))
    assert run("clean", "yes=true").code == 0
    assert partial.exists()
    assert sorted((directory.path / "markers").rglob("*")) == markers
    assert (run.path / "logs/captions/00001-captions_0.log").exists()


def test_old_leftovers_go_and_young_ones_stay(run):
    directory = run.run.phase("captions", "write")
    old = [
        put(directory.path / ".plan.json.0123456789abcdef.tmp"),
        put(run.path / "dataset/.README.md.0123456789abcdef.tmp"),
        put(directory.partial_path(1, "9_9_9")),
        put(directory.path / "partial/round/export/weights"),
        put(run.path / "submissions/.00009-render.0123456789abcdef/record.json"),
    ]
    age(old[-1].parent, DAY_S)
    young = [
        put(directory.path / ".plan.json.fedcba9876543210.tmp", CLOCK_SLACK_S - 60),
        put(directory.partial_path(2, "9_9_9"), 0),
        put(run.path / "submissions/.00009-render.fedcba9876543210/record.json", 0),
    ]
    others = [put(run.path / name) for name in ("notes.tmp", ".hidden", "dataset/.x.tmp", "captions/write/bad/00001.x")]
    assert run("clean", "yes=true").code == 0
    assert [path for path in old if path.exists()] == []
    assert not (directory.path / "partial/round").exists()
    assert not old[-1].parent.exists()
    assert [path for path in (*young, *others) if not path.exists()] == []


def test_beside_a_live_run_nothing_goes_that_is_younger_than_its_oldest_attempt(run):
    """A submission that has been alive for two days: what was written a day ago may be its own."""
    [first, *_] = run.submissions()
    update(first, state="submitted", created=time.time() - 2 * DAY_S, supervisor=identify(os.getpid()))
    directory = run.run.phase("captions", "write")
    its_own = put(directory.path / ".x.0123456789abcdef.tmp", DAY_S)
    older = put(directory.path / ".x.fedcba9876543210.tmp", 3 * DAY_S)
    log = run.path / "logs/captions/00001-captions_0.log"
    assert log.exists()
    assert run("clean", "yes=true").code == 0
    assert its_own.exists()
    assert not older.exists()
    assert log.exists(), "its submission is alive"
    assert not any(path.name.startswith("00002") for path in (run.path / "logs").rglob("*_0.log"))


def test_cleaning_again_and_again_beside_a_run_at_work_changes_nothing_of_its_result(app, finished):
    slow = "captions.template.items_per_s=20"
    assert app("submit", *WORDS, slow).code == 0
    rounds, deadline = 0, time.monotonic() + 120
    try:
        while app.status()["alive"]:
            assert time.monotonic() < deadline
            outcome = app("clean", "yes=true")
            assert outcome.code == 0, outcome
            rounds += 1
    finally:
        app("cancel")
    assert rounds >= 2
    assert same_set(app.path) == same_set(finished)
    assert app("clean", "yes=true").code == 0
    assert app("verify").code == 0
    assert kinds(app) == {}


def test_markers_at_odds_with_the_seal_stay_and_are_told(run):
    directory = run.run.phase("captions", "write")
    directory.marker_path(1).unlink()
    outcome = run("clean", "yes=true")
    assert outcome.code == 1
    assert "markers of captions/write stay" in outcome.out
    assert directory.own_markers() == {0, 2, 3}


def test_without_a_terminal_yes_is_needed(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    before = tree(run.path)
    outcome = run("clean")
    assert outcome.code == 2
    assert "yes=true" in outcome.err
    assert "markers of sealed phases" in outcome.out
    assert tree(run.path) == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_on_a_terminal_it_asks(run, monkeypatch, answer, code):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    before = kinds(run)
    outcome = run("clean")
    assert outcome.code == code, outcome
    assert "Remove it? [y/N]" in outcome.out
    assert kinds(run) == ({} if code == 0 else before)


def test_scratch_of_ended_slurm_submissions_goes_and_of_living_ones_stays(app, fake_slurm):
    assert app("submit", *SMALL, "slurm.elements=2").code == 0
    [one] = app.submissions()
    names = [f"{'0' * 32}.pkl", ".submission_file_" + "0" * 32 + ".sh", "101_submission.sh", "101_0_submitted.pkl"]
    names += ["101_0_0_result.pkl", "101_1_0_result.pkl", "101_1_0_result.pkl.save_tmp", "102_submitted.pkl"]
    files = [put(one.path / name) for name in names]
    fake_slurm.answer("squeue", {"stdout": row("101", one.job_names[0], "RUNNING", index=0)})
    assert kinds(app) == {}
    fake_slurm.answer("squeue", {"stdout": ""})
    update(load_submission(app.run, one.name), state="claimed")
    assert kinds(app) == {}, "an sbatch that got no answer may be heard later"
    update(load_submission(app.run, one.name), state="submitted")
    assert kinds(app)["scratch of ended submissions"] >= len(files)
    assert app("clean", "yes=true").code == 0
    assert sorted(path.name for path in one.path.iterdir()) == ["record.json", "shards.json"]


def test_a_queue_that_does_not_answer_is_no_reason_to_take_jobs_for_ended(app, fake_slurm):
    assert app("submit", *SMALL).code == 0
    fake_slurm.answer("squeue", {"exit": 1, "stderr": "slurm_load_jobs error: Unable to contact slurm controller"})
    outcome = app("clean", "yes=true")
    assert outcome.code == 2
    assert "assume_ended=true" in outcome.err
    assert app("clean", "dry-run=true", "assume_ended=true").code == 0


def test_no_run_is_said_with_the_next_step(app):
    outcome = app("clean")
    assert outcome.code == 2
    assert "no run here" in outcome.err
