"""What a worker refuses, adopts and takes for done."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sharding import files
from sharding.plan import load_plan
from slurm.attempt import Attempt
from slurm.resources import Resources
from slurm.signals import StopFlag
from synthclip_hpc import provenance, sealing, worker
from synthclip_hpc.config import RunConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.stages import captions
from synthclip_hpc.stages.phase import check_tasks
from synthclip_hpc.submissions import update
from tests.synthclip_hpc.app import App, same_set

WORDS = ("stage=captions", "concepts.limit=40", "captions.shard_items=10", "captions.batch_items=4", "workers=1")
PHASE = "captions/write"


def finish(path: Path, *words: str) -> App:
    app = App(path)
    assert app("submit", *WORDS, *words).code == 0
    return app


@pytest.fixture
def planned(app, monkeypatch):
    """A run whose captions are submitted, and nobody works on them."""
    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", lambda run, ones: ones)
    assert app("submit", *WORDS).code == 0
    return app


def attempt_at(app: App, num_tasks: int = 1, restart: int = 0) -> tuple[str, list[dict]]:
    """How an attempt at the only submission ends, and its journal."""
    [submission] = app.submissions()
    attempt = Attempt("77", 0, restart, "here")
    reason = worker.run_attempt(app.run, submission, attempt, 0, StopFlag(), num_tasks)
    lines = (app.path / PHASE / f"journals/{attempt.name}.jsonl").read_text().splitlines()
    return reason, [json.loads(line) for line in lines]


def markers(app: App) -> list[dict]:
    return [json.loads(path.read_bytes()) for path in sorted((app.path / PHASE / "markers").rglob("*.json"))]


def test_outputs_copied_from_a_run_of_another_seed_are_moved_aside_and_made_anew(planned, at_once, tmp_path):
    other, right = finish(tmp_path / "other", "seed=1"), finish(tmp_path / "right")
    for name in ("data", "markers"):
        shutil.copytree(other.path / PHASE / name, planned.path / PHASE / name)
    assert attempt_at(planned)[0] == "completed"
    sealing.seal_phase(planned.run, "captions", "write")
    assert same_set(planned.path) == same_set(right.path)
    assert len(list((planned.path / PHASE / "bad").iterdir())) == 8


@pytest.mark.parametrize("words", [("seed=1",), ("concepts.sample=40", "concepts.limit=0", "seed=3")])
def test_outputs_of_another_seed_without_a_marker_are_refused_by_their_content(planned, at_once, tmp_path, words):
    other, right = finish(tmp_path / "other", *words), finish(tmp_path / "right")
    shutil.copytree(other.path / PHASE / "data", planned.path / PHASE / "data")
    assert attempt_at(planned)[0] == "completed"
    sealing.seal_phase(planned.run, "captions", "write")
    assert same_set(planned.path) == same_set(right.path)
    assert len(list((planned.path / PHASE / "bad").iterdir())) == 4


def test_sound_outputs_without_markers_are_adopted_all(planned, at_once, tmp_path):
    right = finish(tmp_path / "right")
    shutil.copytree(right.path / PHASE / "data", planned.path / PHASE / "data")
    reason, events = attempt_at(planned)
    assert (reason, [event["new"] for event in events if event["event"] == "shard_done"]) == ("completed", [0] * 4)
    assert [event["adopted"] for event in events if event["event"] == "shard_done"] == [True] * 4
    assert [marker["provenance"]["adopted"] for marker in markers(planned)] == [True] * 4
    assert not (planned.path / PHASE / "bad").exists()


def test_the_captions_of_another_shard_are_refused(planned, at_once, tmp_path):
    right = finish(tmp_path / "right")
    plan = load_plan(right.run.phase("captions", "write"))
    assert plan is not None
    path = right.run.phase("captions", "write").data_path(2, ".parquet")
    assert captions.inspect(right.run, path, plan, plan.shard(2)).total == 10
    with pytest.raises(ValueError, match=r"items 10\.\.19"):
        captions.inspect(right.run, path, plan, plan.shard(1))


def test_a_concept_table_of_another_bank_is_refused(planned, at_once, tmp_path):
    other = finish(tmp_path / "other", "concepts.limit=39")
    phase, directory = find_phase("concepts", "read"), planned.run.phase("concepts", "read")
    plan = load_plan(directory)
    assert plan is not None
    assert phase.inspect(planned.run, directory.data_path(0, ".parquet"), plan, plan.shard(0)).total == 40
    foreign = other.run.phase("concepts", "read").data_path(0, ".parquet")
    with pytest.raises(ValueError, match="concepts of the plan"):
        phase.inspect(planned.run, foreign, plan, plan.shard(0))


def test_several_tasks_are_refused_by_the_first_in_its_journal_and_no_shard_is_made(planned):
    reason, events = attempt_at(planned, num_tasks=2)
    assert reason == "error"
    assert "2 tasks" in events[-1]["message"] and "slurm.tasks_per_node" in events[-1]["message"]
    assert markers(planned) == []


def test_the_other_tasks_leave_at_once_and_touch_nothing(planned, monkeypatch):
    for key, value in {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(StopFlag, "install", lambda self: None)
    [submission] = planned.submissions()
    with pytest.raises(SystemExit) as end:
        worker.run_on_slurm(str(planned.path), submission.name, 0)
    assert end.value.code == 1
    sealing.run_on_slurm(str(planned.path), submission.name)
    assert not (planned.path / PHASE / "journals").exists()


def test_the_seal_job_puts_its_own_handlers_in_place_of_those_that_would_requeue(planned, monkeypatch):
    installed: list[StopFlag] = []
    monkeypatch.setattr(StopFlag, "install", lambda self: installed.append(self))
    for key, value in {"SLURM_JOB_ID": "78", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(SystemExit):
        sealing.run_on_slurm(str(planned.path), planned.submissions()[0].name)
    assert len(installed) == 1


@pytest.mark.parametrize(("nodes", "tasks"), [(2, 1), (1, 2), (2, 3)])
def test_a_map_phase_of_several_tasks_an_element_is_refused_at_submission(nodes, tasks):
    resources = Resources(nodes=nodes, tasks_per_node=tasks)
    for kind in ("map", "reduce"):
        with pytest.raises(UserError, match=rf"slurm\.nodes × slurm\.tasks_per_node = {nodes * tasks}: a {kind} phase"):
            check_tasks(kind, resources)
        check_tasks(kind, Resources())


def test_a_gang_may_have_several_nodes_with_a_task_on_each():
    check_tasks("gang", Resources(nodes=4, tasks_per_node=1))
    with pytest.raises(UserError, match="training starts one launcher on each node"):
        check_tasks("gang", Resources(nodes=4, tasks_per_node=2))


@pytest.mark.parametrize(("key", "changes"), [("seed", {"seed": 5}), ("captions.batch_items", {"captions": {}})])
def test_a_submission_recorded_with_another_configuration_than_the_plan_is_refused(planned, key, changes):
    [submission] = planned.submissions()
    config = {**submission.record["config"], **changes}
    update(submission, config=config)
    reason, events = attempt_at(planned)
    assert reason == "error"
    assert key in events[-1]["message"] and "resume" in events[-1]["message"]
    assert markers(planned) == []


def test_markers_name_the_submission_and_workers_never_ask_git(planned, monkeypatch):
    def refuse(*given):
        raise AssertionError("git was asked")

    monkeypatch.setattr(provenance, "_git", refuse)
    provenance.of_process.cache_clear()
    assert attempt_at(planned)[0] == "completed"
    provenance.of_process.cache_clear()
    facts = [marker["provenance"] for marker in markers(planned)]
    assert [(one["submission"], one["attempt"]) for one in facts] == [("00001-captions", "77_0_0")] * 4
    assert all("git" not in one for one in facts)


def test_git_is_asked_without_its_optional_locks(monkeypatch):
    asked = []
    run = subprocess.run

    def ask(*given, **options):
        asked.append(options["env"])
        return run(*given, **options)

    monkeypatch.setattr(subprocess, "run", ask)
    found = provenance.of_submission(["submit"])
    assert "git" in found
    assert [env["GIT_OPTIONAL_LOCKS"] for env in asked] == ["0"] * len(asked)
    assert len(asked) == (2 if found["git"] else 0)


@pytest.mark.parametrize("code", [errno.ESTALE, errno.ENOENT])
@pytest.mark.parametrize("done", [True, False])
def test_an_attempt_whose_files_the_winner_cleared_away_ends_as_taken(planned, monkeypatch, code, done):
    """A zombie's write to its removed file fails, while the shard's marker says whether anyone is to mind."""
    from sharding.partial import RecordLog

    append = RecordLog.append

    def stale(log, payload):
        monkeypatch.setattr(RecordLog, "append", append)
        if done:
            assert attempt_at(planned, restart=1)[0] == "completed"
        raise OSError(code, "gone")

    monkeypatch.setattr(RecordLog, "append", stale)
    reason, events = attempt_at(planned)
    told = [(event["event"], event["shard"]) for event in events if event["event"] in ("shard_taken", "shard_failed")]
    assert (reason, told) == (("completed", [("shard_taken", 0)]) if done else ("failed", [("shard_failed", 0)]))


def test_a_stray_marker_does_not_keep_the_last_look_from_being_taken(planned, monkeypatch):
    """The look for colliding ids was once left out whenever the number of markers was not that of the shards."""
    import dataclasses

    assert attempt_at(planned)[0] == "completed"
    folder = planned.path / PHASE / "markers/000"
    shutil.copy(folder / "00000.json", folder / "00999.json")

    def collide(directory, plan):
        raise UserError("two ids are the same")

    phase = dataclasses.replace(find_phase("captions", "write"), check_sealed=collide)
    monkeypatch.setattr(sealing, "find_phase", lambda *names: phase)
    with pytest.raises(UserError, match="two ids"):
        sealing.seal_phase(planned.run, "captions", "write")
    assert not (planned.path / PHASE / "seal.json").exists()
    monkeypatch.undo()
    assert len(sealing.seal_phase(planned.run, "captions", "write").shards) == 4


def test_missing_shards_are_told_before_the_last_look_opens_any_output(planned, monkeypatch):
    import dataclasses

    from sharding.seal import PhaseIncomplete

    assert attempt_at(planned)[0] == "completed"
    (planned.path / PHASE / "markers/000/00001.json").unlink()
    (planned.path / PHASE / "data/000/00001.parquet").unlink()
    looked = []
    phase = dataclasses.replace(find_phase("captions", "write"), check_sealed=lambda *given: looked.append(given))
    monkeypatch.setattr(sealing, "find_phase", lambda *names: phase)
    with pytest.raises(PhaseIncomplete):
        sealing.seal_phase(planned.run, "captions", "write")
    assert looked == []


def test_captions_by_template_promise_bytes_and_no_other_engine_does():
    import dataclasses

    config = RunConfig()
    other = dataclasses.replace(config, captions=dataclasses.replace(config.captions, engine="a language model"))
    assert (captions.promise(config), captions.promise(other)) == ("bytes", "items")


def test_partial_files_of_a_finished_shard_are_gone_before_the_seal(planned):
    leftover = planned.path / PHASE / "partial/000/00002.66_0_0.part"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"of an attempt that was killed")
    assert attempt_at(planned)[0] == "completed"
    assert files.list_directory(leftover.parent) == []
