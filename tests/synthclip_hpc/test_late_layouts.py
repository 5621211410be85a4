"""Phases whose size is known only when others have run: who lays them out, and from what."""

from __future__ import annotations

import shlex

import pytest

from tests.synthclip_hpc.app import call, same_set
from tests.synthclip_hpc.test_balance import rows_of

TEXTS = [f"a cat called {n}" for n in range(30)] + ["a dog"] * 10
USABLE = 31


@pytest.fixture
def words(tmp_path):
    bank, source = tmp_path / "bank.txt", tmp_path / "mine.txt"
    bank.write_text("cat\ndog\n")
    source.write_text("".join(f"{text}\n" for text in TEXTS))
    return ("stage=balance", f"concepts.bank={bank}", f"balance.source={source}", "workers=1")


@pytest.mark.parametrize("size", ["balance.mode=none", "balance.t=1000"])
def test_wait_goes_on_with_what_could_not_be_laid_out_before(app, at_once, words, size):
    outcome = app("submit", *words, size, "wait=true")
    assert outcome.code == 0, outcome
    assert "balance/cut: not yet" in outcome.out and "then: this command goes on with it" in outcome.out
    assert len(rows_of(app.path)) == USABLE
    assert app.status()["stages"]["balance"]["state"] == "done"


def test_wait_goes_on_with_real_processes_too(app, words):
    outcome = app("submit", *words, "balance.mode=none", "wait=true")
    assert outcome.code == 0, outcome
    assert len(rows_of(app.path)) == USABLE


def test_resume_waits_in_the_same_way(app, at_once, words):
    assert app("submit", *words, "balance.mode=none").code == 0
    assert rows_of(app.path) == []
    assert app("resume", "wait=true").code == 0
    assert len(rows_of(app.path)) == USABLE


def test_wait_ends_with_1_and_the_command_when_what_comes_before_fails(app, at_once, words, monkeypatch):
    def fail(*given):
        raise RuntimeError("no choice")

    with monkeypatch.context() as patch:
        patch.setattr("synthclip_hpc.stages.balance.select.choose", fail)
        outcome = app("submit", *words, "balance.mode=none", "wait=true")
    assert outcome.code == 1
    assert outcome.out.rstrip().endswith(f"then: python -m synthclip_hpc.resume run={app.path}")
    assert app("resume", "wait=true").code == 0
    assert len(rows_of(app.path)) == USABLE


def test_ctrl_c_ends_the_waiting_and_lays_nothing_out(app, at_once, words, monkeypatch):
    monkeypatch.setattr("synthclip_hpc.monitor.follow.follow", lambda run: 130)
    assert app("submit", *words, "balance.mode=none", "wait=true").code == 130
    assert not app.run.phase("balance", "cut").plan_path.exists()


def test_without_wait_the_command_that_goes_on_is_named_and_works_as_it_stands(app, at_once, words):
    outcome = app("submit", *words, "balance.mode=none")
    [line] = [line for line in outcome.out.splitlines() if line.startswith("balance/cut: not yet")]
    command = shlex.split(line.partition("; then: ")[2])
    assert command == ["python", "-m", "synthclip_hpc.resume", f"run={app.path}"]
    assert call("resume", *command[3:]).code == 0
    assert len(rows_of(app.path)) == USABLE


def test_a_stage_of_which_nothing_is_laid_out_yet_is_named_in_a_command_that_starts_it(
    app, at_once, words, monkeypatch
):
    outcome = app("submit", "stage=balance,render", *words[1:], "balance.t=3")
    assert outcome.code == 0, outcome
    commands = {line.partition("; then: ")[2] for line in outcome.out.splitlines() if ": not yet" in line}
    assert commands == {f"python -m synthclip_hpc.submit stage=balance,render run={app.path} cluster=local"}
    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", lambda run, submissions: submissions)
    assert call("submit", *commands.pop().split()[3:]).code == 0
    assert [one.phase for one in app.submissions()][-3:] == ["cut", "coverage", "draw"]


def test_dry_run_names_what_cannot_be_laid_out_yet(app, words):
    outcome = app("submit", *words, "balance.t=3", "dry-run=true")
    assert outcome.code == 0, outcome
    for phase in ("cut", "coverage"):
        assert f"balance/{phase}: not yet, its size is known when what comes before it is done" in outcome.out
    assert "not yet" not in app("submit", *words, "balance.target=3", "dry-run=true").out
    assert not app.path.exists()


def test_resume_lays_out_the_rest_when_bank_and_captions_are_gone(app, at_once, words, tmp_path):
    assert app("submit", *words, "balance.mode=none").code == 0
    for name in ("bank.txt", "mine.txt"):
        (tmp_path / name).unlink()
    before = same_set(app.path)
    outcome = app("resume")
    assert outcome.code == 0, outcome
    assert len(rows_of(app.path)) == USABLE
    assert before.items() <= same_set(app.path).items()


def test_another_configuration_needs_its_sources(app, at_once, words, tmp_path):
    assert app("submit", *words, "balance.mode=none").code == 0
    (tmp_path / "mine.txt").unlink()
    outcome = app("submit", "stage=balance", "balance.mode=balanced", "balance.t=3")
    assert (outcome.code, "there is no such file" in outcome.words) == (2, True), outcome
