"""`submit` asks above `slurm.confirm_gpu_hours`; where nobody can be asked it wants `yes=true`."""

from __future__ import annotations

import pytest

from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.model_folders import make_model


@pytest.fixture
def words(tmp_path, fake_slurm, monkeypatch):
    """446 captions by a language model on GPUs: guessed to take less than a GPU hour, more than a hundredth."""
    monkeypatch.setattr("synthclip_hpc.captioning.preflight.check_place", lambda *given: None)
    model = make_model(tmp_path / "model")
    return ("stage=captions", "concepts.bank=emoji", "captions.engine=transformers", f"captions.model={model}",
            "cluster=slurm", "slurm.gpus_per_node=1", "slurm.elements=8")  # fmt: skip


def at_terminal(monkeypatch, answer: str) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return answer

    monkeypatch.setattr("sys.stdin", Terminal())


def test_below_the_limit_nothing_is_asked(app, words, fake_slurm):
    outcome = app("submit", *words)
    assert outcome.code == 0, outcome
    assert len(fake_slurm.calls("sbatch")) == 2


def test_above_the_limit_without_a_terminal_yes_is_needed(app, words, fake_slurm):
    outcome = app("submit", *words, "slurm.confirm_gpu_hours=0.01")
    assert outcome.code == 2
    assert "This would take <0.01 - 0." in outcome.err and "captions/write <0.01 - 0." in outcome.err
    assert "slurm.confirm_gpu_hours=0.01, and stdin is no terminal to ask at" in outcome.err
    assert "dry-run=true, then add yes=true" in outcome.err
    assert not app.path.exists()
    assert fake_slurm.calls("sbatch") == []
    assert app("submit", *words, "slurm.confirm_gpu_hours=0.01", "dry-run=true").code == 0
    assert app("submit", *words, "slurm.confirm_gpu_hours=0.01", "yes=true").code == 0
    assert len(fake_slurm.calls("sbatch")) == 2


@pytest.mark.parametrize("answer", ["y\n", " Yes \n"])
def test_a_yes_at_the_terminal_submits(app, words, fake_slurm, monkeypatch, answer):
    at_terminal(monkeypatch, answer)
    outcome = app("submit", *words, "slurm.confirm_gpu_hours=0")
    assert outcome.code == 0, outcome
    assert "Submit it? [y/N]" in outcome.out
    assert len(fake_slurm.calls("sbatch")) == 2


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yesterday\n"])
def test_anything_else_submits_and_writes_nothing(app, words, fake_slurm, monkeypatch, answer):
    at_terminal(monkeypatch, answer)
    outcome = app("submit", *words, "slurm.confirm_gpu_hours=0")
    assert outcome.code == 1
    assert "nothing was submitted" in outcome.out
    assert not app.path.exists()
    assert fake_slurm.calls("sbatch") == []


def test_of_what_is_submitted_already_nothing_is_asked(app, words, fake_slurm):
    assert app("submit", *words, "yes=true").code == 0
    name = f"{app.run.job_name('captions', 'write')}-1"
    row = {"stdout": f"101_0|101|0|{name}|RUNNING|None|n1|N/A|N/A\n"}
    fake_slurm.answer("squeue", row)
    again = app("submit", *words, "slurm.confirm_gpu_hours=0.01")
    assert again.code == 0, again
    assert "already submitted as 00001-captions" in again.out


def test_resume_never_asks(app, words, fake_slurm):
    assert app("submit", *words, "slurm.confirm_gpu_hours=0.01", "yes=true").code == 0
    fake_slurm.answer("squeue", {"stdout": ""})
    assert app("resume", "cluster=slurm").code == 0
    assert len(app.submissions()) == 2


def test_work_for_cpus_is_never_asked_about(app, at_once):
    words = ("stage=captions", "concepts.bank=emoji", "slurm.confirm_gpu_hours=0", "captions.template.items_per_s=5000")
    assert app("submit", *words).code == 0


@pytest.mark.parametrize("word", ["slurm.confirm_gpu_hours=-1", "slurm.confirm_gpu_hours=nan", "slurm.gpu_watts=inf"])
@pytest.mark.parametrize("verb", ["submit", "probe"])
def test_a_value_that_cannot_be_is_refused(app, word, verb):
    outcome = app(verb, "stage=captions", "concepts.bank=emoji", "cluster=local", word)
    assert outcome.code == 2
    assert f"{word.partition('=')[0]}=" in outcome.err
    assert not app.path.exists()


def test_a_profile_says_nothing_of_what_is_the_commands_own(tmp_path, fake_slurm):
    (tmp_path / "p.toml").write_text("[default]\nconfirm_gpu_hours = 5\n")
    outcome = App(tmp_path / "run")(
        "submit", "stage=captions", "concepts.bank=emoji", "cluster=slurm", f"slurm.profile={tmp_path}/p.toml"
    )
    assert outcome.code == 2
    assert "unknown key 'confirm_gpu_hours'" in outcome.err
