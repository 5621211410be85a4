"""A plan that nothing was made from is replaced by what `submit` asks for; one that has made something stays."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import replace

import pytest

from sharding.journal import Journal
from sharding.marker import Counts
from sharding.plan import PlanReplaced, load_plan, replace_plan
from sharding.table import TableError
from synthclip_hpc.launch import launching
from synthclip_hpc.launch.chain import lay_out
from synthclip_hpc.launch.launching import start
from synthclip_hpc.launch.liveness import NO_CLUSTER, living
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.processes import identify
from synthclip_hpc.submissions import claim, update, withdraw
from synthclip_hpc.work import Bench, work
from tests.synthclip_hpc.app import App, Outcome, call, command_line, environment, same_set, tree, work_off
from tests.synthclip_hpc.test_balance import rows_of
from tests.synthclip_hpc.test_slurm_submission import row

TEXTS = [f"a cat called {n}" for n in range(30)] + ["a dog"] * 10 + ["nothing of the bank"] * 10
USABLE = 31
LOCAL = ("cluster=local", "wait=true")
LATE = ("select", "cut", "coverage")


@pytest.fixture
def words(tmp_path):
    bank, source = tmp_path / "bank.txt", tmp_path / "mine.txt"
    bank.write_text("cat\ndog\n")
    source.write_text("".join(f"{text}\n" for text in TEXTS))
    return ("stage=balance", f"concepts.bank={bank}", f"balance.source={source}", "workers=1")


@pytest.fixture
def too_many(app, words, monkeypatch) -> App:
    """A run whose target is more than can be had: everything before `select` is done."""

    def work_off_and_go(run, submissions):
        work_off(run, submissions)
        for one in submissions:
            update(one, state="ended")  # with their supervisor

    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", work_off_and_go)
    assert app("submit", *words, "balance.target=40").code == 0
    assert not app.run.phase("balance", "select").seal_path.exists()
    return app


def made_by(app: App) -> dict[str, bytes | None]:
    """Everything that was made before `select`, and the markers' provenance with it."""
    return {
        name: data
        for name, data in tree(app.path).items()
        if name.startswith("balance/") and name.split("/")[1] not in LATE and "journals" not in name
    }


def follow_advice(outcome_or_text: str, number: int) -> Outcome:
    """Type the command that a message ends one of its lines with."""
    lines = [line for line in outcome_or_text.splitlines() if "python -m synthclip_hpc.submit" in line]
    command = lines[number][lines[number].index("python -m") :].partition(" (attempt")[0]
    return call(command.split()[2].removeprefix("synthclip_hpc."), *shlex.split(command)[3:])


def advice(app: App) -> str:
    [failed] = [
        event
        for path in app.run.phase("balance", "select").journals_path.glob("*_0_0.jsonl")
        for event in map(json.loads, path.read_text().splitlines())
        if event["event"] == "shard_failed"
    ]
    return str(failed["message"])


def test_the_error_names_the_largest_target_and_the_command_that_takes_it(too_many, words, tmp_path):
    told = advice(too_many)
    assert f"only {USABLE} captions are usable" in told
    assert f"Go on with: python -m synthclip_hpc.submit stage=balance run={too_many.path} cluster=local" in told
    before = made_by(too_many)
    outcome = follow_advice(told, 0)
    assert outcome.code == 0, outcome
    assert len(rows_of(too_many.path)) == USABLE
    assert made_by(too_many) == before
    line = "balance/select: nothing was made from its plan, which is replaced (balance.target: 40 -> 31)"
    assert line in outcome.out
    assert "balance/cut: nothing was made from its plan, which is replaced (num_items: 40 -> 31)" in outcome.out
    assert too_many.run.load_config().balance.target == USABLE
    assert too_many.status()["stages"]["balance"]["state"] == "done"
    # As if it had been the target from the beginning.
    at_first = App(tmp_path / "at-first")
    assert at_first("submit", *words, f"balance.target={USABLE}").code == 0
    assert same_set(at_first.path) == same_set(too_many.path)
    assert too_many("resume").code == 0


def test_the_other_command_takes_what_there_is(too_many):
    outcome = follow_advice(advice(too_many), 1)
    assert outcome.code == 0, outcome
    assert "balance/cut: nothing was made from its plan, which is taken back" in outcome.out
    assert load_plan(too_many.run.phase("balance", "cut")) is None
    assert too_many("resume").code == 0
    assert len(rows_of(too_many.path)) == USABLE


def test_a_failed_submission_says_resume_only_where_that_would_help(too_many):
    outcome = too_many("resume")
    assert "Go on with: python -m synthclip_hpc.submit" in outcome.err
    assert "synthclip_hpc.resume" not in outcome.err


def test_dry_run_tells_of_the_replacement_and_changes_nothing(too_many):
    before = tree(too_many.path)
    outcome = too_many("submit", "stage=balance", "balance.target=20", "dry-run=true")
    assert (outcome.code, "balance.target: 40 -> 20" in outcome.out) == (0, True), outcome
    assert tree(too_many.path) == before


@pytest.mark.parametrize("key", ["balance.case=fold", "balance.match_items=7"])
def test_what_has_made_something_is_refused_and_then_nothing_is_replaced(too_many, key):
    before = tree(too_many.path)
    outcome = too_many("submit", "stage=balance", "balance.target=20", key)
    assert (outcome.code, "has started and keeps" in outcome.words) == (2, True), outcome
    assert tree(too_many.path) == before


@pytest.mark.parametrize(
    "path", ["data/000/00000.npz", "markers/000/00000.json", "partial/000/00000.a_0_0.npz", "bad/x", "seal.json"]
)
def test_any_file_that_was_made_keeps_the_plan(too_many, path):
    directory = too_many.run.phase("balance", "select")
    file = directory.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")
    planned = load_plan(directory)
    assert too_many("submit", "stage=balance", "balance.target=20").code != 0
    assert load_plan(directory) == planned


def test_a_plan_at_work_is_kept_until_it_is_cancelled(too_many):
    [*_, last] = [one for one in too_many.submissions() if one.phase == "select"]
    update(last, state="submitted", supervisor=identify(os.getppid()))
    before = tree(too_many.path)
    outcome = too_many("submit", "stage=balance", "balance.target=20")
    assert outcome.code == 2
    assert f"cancel stage=balance run={too_many.path}, then this command again" in outcome.words
    assert "balance.target: recorded 40, asked 20" in outcome.words
    assert tree(too_many.path) == before
    update(last, state="ended")
    assert too_many("submit", "stage=balance", "balance.target=20").code == 0
    assert len(rows_of(too_many.path)) == 20


def test_a_command_that_was_killed_half_way_is_followed_by_either(too_many, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*given):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("synthclip_hpc.run.Run.update_config", die)
        with pytest.raises(Killed):
            too_many("submit", "stage=balance", "balance.target=20")
    # The plans are those of the command, the configuration is the old one.
    assert load_plan(too_many.run.phase("balance", "cut")).num_items == 20  # type: ignore[union-attr]
    assert too_many.run.load_config().balance.target == 40
    outcome = too_many("resume")
    assert "balance.target: 20 -> 40" in outcome.out
    assert too_many("submit", "stage=balance", "balance.target=20").code == 0
    assert len(rows_of(too_many.path)) == 20
    assert [path.name for path in too_many.run.submissions_path.iterdir() if path.name.startswith(".")] == []


def test_of_two_commands_one_after_the_others_look_the_first_to_start_wins(too_many, monkeypatch):
    place, outcomes = "synthclip_hpc.carrying_out.start", []

    def meanwhile(*given, **more):
        monkeypatch.setattr(place, start)
        outcomes.append(too_many("submit", "stage=balance", "balance.target=12"))
        return start(*given, **more)

    monkeypatch.setattr(place, meanwhile)
    late = too_many("submit", "stage=balance", "balance.target=25")
    assert [one.code for one in outcomes] == [0]
    assert (late.code, "balance.target: recorded 12, asked 25" in late.words) == (2, True), late
    assert len(rows_of(too_many.path)) == 12
    assert too_many.run.load_config().balance.target == 12
    assert too_many("resume").code == 0


def test_two_processes_at_once_leave_one_whole_run(too_many):
    lines = [
        command_line(
            "submit", "stage=balance", f"balance.target={n}", f"run={too_many.path}", "cluster=local", "wait=true"
        )
        for n in (9, 14)
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    processes = [subprocess.Popen(line, env=environment(), **pipes) for line in lines]  # type: ignore[call-overload]
    told = [process.communicate(timeout=120)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], told
    assert len(rows_of(too_many.path)) == (9, 14)[codes.index(0)] == too_many.run.load_config().balance.target


def test_a_late_worker_of_the_old_plan_publishes_nothing_and_moves_nothing(too_many):
    config = too_many.run.load_config()
    [old] = [link for link in lay_out(config, ["balance"], too_many.run) if link.phase.name == "select"]
    directory = old.directory(too_many.run)
    journal = Journal(directory.journal_path("late_0_0"))
    bench = Bench(too_many.run, old.phase, old.plan, config, "late_0_0", journal, "")
    task = bench.task(0)
    staged = directory.staged_path(0, "late_0_0", old.plan.suffix)
    assert too_many("submit", "stage=balance", "balance.target=20").code == 0
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"of the old plan")
    before = same_set(too_many.path)
    with pytest.raises(PlanReplaced, match="target: recorded 20, asked 40"):
        task.publish(staged, Counts(1, 1, 0, {}))
    with pytest.raises(PlanReplaced):
        work(bench, [0], error_limit=0)
    assert same_set(too_many.path) == before
    assert not (directory.path / "bad").exists()


def test_a_selection_by_another_plan_is_not_taken_for_ones_own(too_many):
    phase, directory = find_phase("balance", "select"), too_many.run.phase("balance", "select")
    before = load_plan(directory)
    assert too_many("submit", "stage=balance", "balance.target=20").code == 0
    plan, output = load_plan(directory), directory.data_path(0, ".npz")
    assert plan is not None and before is not None
    assert phase.inspect(too_many.run, output, plan, plan.shard(0)) == Counts(1, 1, 0, {})
    with pytest.raises(TableError, match=f"was selected by plan {plan.hash}, not by plan {before.hash}"):
        phase.inspect(too_many.run, output, before, before.shard(0))


@pytest.mark.parametrize("name", ["match", "score"])
def test_a_file_of_another_plan_without_a_marker_is_not_taken_for_ones_own(too_many, name):
    phase, directory = find_phase("balance", name), too_many.run.phase("balance", name)
    plan, output = load_plan(directory), directory.data_path(0, ".arrow")
    assert plan is not None
    counts = phase.inspect(too_many.run, output, plan, plan.shard(0))
    assert counts.total == plan.num_items
    other = replace(plan, identity={**plan.identity, "balance.case": "fold", "seed": 8})
    with pytest.raises(TableError, match=f"was made by plan {plan.hash}, not by plan {other.hash}"):
        phase.inspect(too_many.run, output, other, other.shard(0))


def test_a_claim_that_is_withdrawn_while_one_looks_around_is_no_error(too_many, monkeypatch):
    record = {**too_many.submissions()[-1].record, "cluster": NO_CLUSTER, "state": "claimed"}
    held = claim(too_many.run, "balance", [], record)
    assert held is not None

    def look(known, *, assume_ended=False):
        assert held.name in [one.name for one in known]
        withdraw(held)
        monkeypatch.setattr(launching, "living", living)
        return []

    monkeypatch.setattr(launching, "living", look)
    outcome = too_many("resume")
    assert vars(launching)["living"] is living
    assert (outcome.code, "record.json" in outcome.words) == (0, False), outcome
    # Its number is free again, and `resume` has taken it.
    assert [one.phase for one in too_many.submissions() if one.number >= held.number] == [*LATE]


def test_a_refused_sbatch_leaves_the_keys_of_what_never_ran_free(app, fake_slurm):
    words = ("submit", "stage=captions", "concepts.limit=20", "captions.shard_items=5", "cluster=slurm")
    fake_slurm.answer("sbatch", {"exit": 1, "stderr": "sbatch: error: invalid partition specified: gpux\n"})
    assert app(*words).code == 2
    fake_slurm.answer("sbatch", {"stdout": "Submitted batch job 60\n"}, {"stdout": "Submitted batch job 61\n"})
    outcome = app(*words, "seed=5", "captions.per_concept=2")
    assert outcome.code == 0, outcome
    assert "captions.per_concept: 1 -> 2, seed: 0 -> 5, num_items: 20 -> 40" in outcome.out
    [one] = app.submissions()
    assert (one.config.seed, app.run.load_config().seed, len(one.shards())) == (5, 5, 8)


def test_a_plan_that_another_command_is_replacing_is_left_to_it(too_many):
    [*_, last] = [one for one in too_many.submissions() if one.phase == "select"]
    record = {**last.record, "cluster": NO_CLUSTER, "state": "claimed", "claimer": identify(os.getppid())}
    held = claim(too_many.run, "balance", [], record)
    assert held is not None
    before = tree(too_many.path)
    outcome = too_many("submit", "stage=balance", "balance.target=20")
    told = f"another command is replacing the plan of balance/select at this moment ({held.name})"
    assert (outcome.code, told in outcome.words) == (2, True), outcome
    assert tree(too_many.path) == before


@pytest.mark.parametrize("stages", ["balance", "balance,render"])
def test_on_slurm_the_command_takes_out_of_the_queue_what_would_wait_for_ever(app, fake_slurm, words, stages):
    from synthclip_hpc.stages.balance.advice import ways_out

    fake_slurm.answer("sbatch", *({"stdout": f"Submitted batch job {n}\n"} for n in range(50, 90)))
    assert app("submit", f"stage={stages}", *words[1:], "balance.target=40", "cluster=slurm").code == 0
    [waiting] = [one for one in app.submissions() if one.phase == "cut"]
    fake_slurm.answer("squeue", {"stdout": row("59", waiting.job_names[0], reason="DependencyNeverSatisfied")})
    outcome = app("submit", "stage=balance", "balance.target=31", "cluster=slurm")
    assert (outcome.code, "balance/cut is at work or in the queue" in outcome.words) == (2, True), outcome
    told = ways_out(app.run, USABLE, waiting.name).splitlines()[0]
    cancel, submit = told.removeprefix("Go on with: ").split(" && ")
    assert submit.endswith(f"stage={stages} run={app.path} cluster=slurm balance.target=31")
    fake_slurm.answer("squeue", *({"stdout": row(str(n), one.job_names[0])} for n, one in enumerate(app.submissions())))
    assert call("cancel", *cancel.split()[3:]).code == 0
    fake_slurm.answer("squeue", {"stdout": ""})
    assert call("submit", *submit.split()[3:]).code == 0
    assert {one.stage for one in app.submissions() if one.config.balance.target == USABLE} == set(stages.split(","))
    assert app.run.load_config().balance.target == USABLE


def test_a_plan_is_replaced_with_the_inputs_that_it_was_bound_to(too_many):
    directory = too_many.run.phase("balance", "select")
    planned = load_plan(directory)
    assert planned is not None and directory.inputs_path.exists()
    replace_plan(directory, planned, None)
    assert (directory.plan_path.exists(), directory.inputs_path.exists()) == (False, False)
