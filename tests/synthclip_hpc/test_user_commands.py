"""The commands of the README, typed as they stand there."""

from __future__ import annotations

import os
import sys

import pytest

from tests.synthclip_hpc.app import REPOSITORY, environment, spawn

PRESET = ("preset=laptop", "cluster=local", "dry-run=true")


@pytest.mark.parametrize(
    "words",
    [
        ("stage=captions", *PRESET),
        ("--stage", "captions", "--preset", "laptop", "--cluster=local", "--dry-run"),
        ("--stage=captions", "preset=laptop", "--cluster", "local", "dry_run=true"),
    ],
)
def test_the_laptop_preset_is_planned_in_every_spelling(app, words):
    outcome = spawn("submit", *words, cwd=app.path.parent)
    assert outcome.code == 0, outcome
    [line] = [line for line in outcome.out.splitlines() if line.startswith("captions/write  ")]
    assert line.split()[1:4] == ["24,000", "6", "6"]
    assert outcome.out.startswith(f"run: {app.path.parent}/runs/default\n")
    assert list(app.path.parent.iterdir()) == []


def test_render_verbatim_says_what_is_missing(app):
    outcome = spawn("submit", "stage=render", cwd=app.path.parent)
    assert outcome.code == 2
    assert "needs captions, balance, not started" in outcome.err and "stage=render upstream=true" in outcome.err
    assert "Traceback" not in outcome.err
    assert list(app.path.parent.iterdir()) == []


@pytest.mark.parametrize(("word", "near"), [("stage=captons", "captions"), ("stage=captions,rendr", "render")])
def test_an_unknown_stage_names_the_nearest(app, word, near):
    outcome = app("submit", word)
    assert outcome.code == 2
    assert f"did you mean {near!r}" in outcome.err
    assert not app.path.exists()


@pytest.mark.parametrize("words", [[], ["stage="], ["stage=,"], ["stage", "captions"]])
def test_a_missing_stage_is_asked_for(app, words):
    outcome = app("submit", *words)
    assert outcome.code == 2
    assert "stage" in outcome.err
    assert not app.path.exists()


def test_an_unknown_preset_or_cluster_is_refused(app):
    for words, near in ((["preset=labtop"], "laptop"), (["cluster=locl"], "local")):
        outcome = app("submit", "stage=captions", *words)
        assert outcome.code == 2
        assert f"did you mean {near!r}" in outcome.err
    assert not app.path.exists()


def test_the_umbrella_command_does_the_same_and_names_the_nearest_verb(app):
    import subprocess

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "synthclip_hpc.cli", *words],
            capture_output=True,
            text=True,
            env=environment(),
            cwd=app.path.parent,
            check=False,
        )

    assert "submit" in run("--help").stdout
    assert (
        run("submit", "stage=captions", *PRESET).stdout
        == spawn("submit", "stage=captions", *PRESET, cwd=app.path.parent).out
    )
    wrong = run("sumbit")
    assert (wrong.returncode, "did you mean 'submit'" in wrong.stderr) == (2, True)


def test_commands_on_no_run_say_how_to_start_one(app):
    for verb in ("status", "resume", "cancel", "verify", "repair"):
        outcome = app(verb)
        assert outcome.code == 2, verb
        assert "python -m synthclip_hpc.submit stage=captions" in outcome.err
        assert str(app.path) in outcome.err
    assert not app.path.exists()


def test_auto_takes_slurm_when_sbatch_is_there_and_else_the_local_cluster(app, fake_slurm):
    assert "cluster: slurm\n" in app("submit", "stage=captions", "dry-run=true", "cluster=auto").out
    fake_slurm.remove("sbatch")
    assert "cluster: local\n" in app("submit", "stage=captions", "dry-run=true", "cluster=auto").out


def test_a_dry_run_prints_equal_text_writes_nothing_and_submits_nothing(app, fake_slurm):
    words = ["submit", "stage=captions", "preset=laptop", "dry-run=true", "cluster=slurm", "slurm.time_min=5"]
    first, second = app(*words), app(*words)
    assert first.code == 0
    assert first.out == second.out
    assert "#SBATCH --time=5\n" in first.out
    assert fake_slurm.calls("sbatch") == []
    assert not app.path.exists()


def test_the_environment_variable_names_the_run(app, monkeypatch, at_once):
    monkeypatch.setenv("SYNTHCLIP_RUN", str(app.path.parent / "named"))
    assert spawn("submit", "stage=captions", *PRESET).out.startswith(f"run: {app.path.parent}/named\n")
    assert os.environ["SYNTHCLIP_RUN"]
    assert REPOSITORY.is_dir()
