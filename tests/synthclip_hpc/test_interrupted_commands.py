"""Commands that meet in the middle, die half-way or are typed elsewhere: no job is lost, none is submitted twice."""

from __future__ import annotations

import subprocess
import sys

import pytest

from synthclip_hpc.submissions import all_submissions, claim, update, withdraw
from tests.synthclip_hpc.app import call, command_line, environment, tree, work_off
from tests.synthclip_hpc.test_local_life import wait_for
from tests.synthclip_hpc.test_slurm_submission import SMALL, cancelled, own_names, row, the_command_is_gone

LOCAL = (*SMALL[:-1], "workers=1", "cluster=local")
DIES_BEFORE_THE_SEAL_JOB = (
    "import synthclip_hpc.launch.arrays as arrays; arrays.submit_job = lambda *given: os._exit(9)"
)
DIES_BEHIND_THE_SUPERVISOR = """
import subprocess, types
import synthclip_hpc.launch.local as local
def start(*given, **more):
    subprocess.Popen(*given, **more)
    os._exit(9)
local.subprocess = types.SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
"""


def die(app, how: str, *words: str) -> None:
    """Run `submit` as a process that ends at once, without a word, where `how` says."""
    program = f"import os\n{how}\nfrom synthclip_hpc.submit import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words, f"run={app.path}"], env=environment(), timeout=60, check=False
    )
    assert done.returncode == 9


@pytest.mark.parametrize("during", [1, 2])
def test_a_cancel_during_a_submit_leaves_nothing_behind(app, fake_slurm, during):
    jobs = [{"stdout": f"Submitted batch job {job}\n"} for job in (55, 56)]
    jobs[during - 1]["sleep_s"] = 3
    fake_slurm.answer("sbatch", *jobs)
    submit = subprocess.Popen(
        command_line("submit", *SMALL, f"run={app.path}"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    wait_for(lambda: len(fake_slurm.calls("sbatch")) == during)
    outcome = app("cancel")
    assert outcome.code == 0
    assert "cancelled: 00001-captions" in outcome.out
    _, err = submit.communicate(timeout=60)
    assert submit.returncode == 2
    assert "00001-captions was cancelled while it was being submitted" in err
    assert len(fake_slurm.calls("sbatch")) == during
    # Once by cancel, and once more by the command whose job came too late for that.
    assert cancelled(fake_slurm) == own_names(app) * 2
    assert [one.state for one in app.submissions()] == ["cancelled"]
    fake_slurm.answer("sbatch", {"stdout": "Submitted batch job 60\n"})
    assert app("resume", "cluster=slurm").code == 0
    assert [one.name for one in app.submissions()] == ["00001-captions", "00002-captions"]


def conf_of(fake_slurm, program: str) -> list[str | None]:
    return [call["env"].get("SLURM_CONF") for call in fake_slurm.calls(program)]


@pytest.mark.parametrize(("mine", "other"), [("/a/slurm.conf", "/b/slurm.conf"), (None, "/b"), ("/a", None)])
def test_a_submission_is_asked_for_on_its_own_cluster(app, fake_slurm, monkeypatch, mine, other):
    def point_at(conf: str | None) -> None:
        monkeypatch.delenv("SLURM_CONF", raising=False)
        if conf is not None:
            monkeypatch.setenv("SLURM_CONF", conf)

    point_at(mine)
    die(app, DIES_BEFORE_THE_SEAL_JOB, *SMALL)
    fake_slurm.answer("squeue", {"stdout": row("101", own_names(app)[0], index=0)})
    point_at(other)
    # A submit, as it does not follow the run to its cluster by itself.
    outcome = app("submit", *SMALL)
    assert outcome.code == 0, outcome
    assert "already submitted as 00001-captions (jobs 101, 102)" in outcome.out
    assert app("cancel").code == 0
    assert conf_of(fake_slurm, "sbatch") == [mine] * 2
    assert conf_of(fake_slurm, "squeue") == [mine] * 2
    assert conf_of(fake_slurm, "scancel") == [mine] * 2
    assert call("resume", f"run={app.path}").code == 0
    assert conf_of(fake_slurm, "sbatch") == [mine] * 4


def test_submissions_of_two_clusters_are_asked_for_once_each(app, fake_slurm, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "/a")
    assert app("submit", *SMALL).code == 0
    monkeypatch.setenv("SLURM_CONF", "/b")
    assert app("submit", *SMALL, "assume_ended=true").code == 0
    assert fake_slurm.calls("squeue") == []
    rows = [row(str(100 + number), own_names(app, number)[0], index=0) for number in (1, 2)]
    fake_slurm.answer("squeue", {"stdout": rows[0]}, {"stdout": rows[1]})
    assert app("cancel").code == 0
    assert conf_of(fake_slurm, "squeue") == ["/a", "/b"]
    assert conf_of(fake_slurm, "scancel") == ["/a", "/a", "/b", "/b"]
    assert cancelled(fake_slurm) == own_names(app, 1) + own_names(app, 2)


def test_cancel_of_a_finished_run_touches_nothing(app, fake_slurm):
    assert app("submit", *SMALL).code == 0
    work_off(app.run, app.submissions())
    update(app.submissions()[0], state="submitted")
    fake_slurm.answer("squeue", {"stdout": row("102", own_names(app)[1], "COMPLETING", "None")})
    before = tree(app.path)
    outcome = app("cancel")
    assert outcome.code == 0
    assert "nothing was alive" in outcome.out
    assert tree(app.path) == before
    assert (fake_slurm.calls("squeue"), fake_slurm.calls("scancel")) == ([], [])


@pytest.mark.parametrize("job_was_accepted", [True, False])
@pytest.mark.parametrize("asked", ["array", "seal job"])
def test_an_sbatch_that_times_out_leaves_what_its_job_would_look_for(app, fake_slurm, asked, job_was_accepted):
    lost = {"exit": 1, "stdout": "Submitted batch job 56\n", "stderr": "sbatch: error: Socket timed out on send/recv\n"}
    fake_slurm.answer("sbatch", *([lost] if asked == "array" else [{"stdout": "Submitted batch job 55\n"}, lost]))
    outcome = app("submit", *SMALL)
    assert outcome.code == 2
    assert "Socket timed out" in outcome.err and "try again" in outcome.err
    assert cancelled(fake_slurm) == own_names(app)
    [one] = app.submissions()
    assert (one.state, one.shards()) == ("claimed", [0, 1, 2, 3])
    assert len(list(one.path.glob("*.pkl"))) == (4 if asked == "array" else 5)
    the_command_is_gone(app)
    if job_was_accepted:
        fake_slurm.answer("squeue", {"stdout": row("56", own_names(app)[0], index=0)})
    fake_slurm.answer("sbatch", {"stdout": "Submitted batch job 60\n"})
    outcome = app("resume", "cluster=slurm")
    assert outcome.code == 0, outcome
    expected = ["00001-captions"] if job_was_accepted else ["00001-captions", "00002-captions"]
    assert [one.name for one in app.submissions()] == expected


def test_a_submit_killed_before_the_seal_job_is_completed_by_resume(app, fake_slurm):
    die(app, DIES_BEFORE_THE_SEAL_JOB, *SMALL)
    [one] = app.submissions()
    assert (one.state, one.job_ids) == ("claimed", ["101"])
    fake_slurm.answer("squeue", {"stdout": row("101", own_names(app)[0], index=0)})
    for _ in range(2):
        outcome = call("resume", f"run={app.path}")
        assert outcome.code == 0, outcome
        assert "already submitted as 00001-captions (jobs 101, 102)" in outcome.out
    _, seal = fake_slurm.scripts()
    assert "#SBATCH --dependency=afterany:101\n" in seal
    assert f"#SBATCH --job-name={own_names(app)[1]}\n" in seal
    assert [one.state for one in app.submissions()] == ["submitted"]


def test_a_supervisor_whose_parent_died_at_once_is_found_and_finishes(app):
    die(app, DIES_BEHIND_THE_SUPERVISOR, *LOCAL, "captions.template.items_per_s=10")
    wait_for(lambda: "supervisor" in app.submissions()[0].record)
    assert app("resume").out.count("already submitted as 00001-captions") == 1
    wait_for(lambda: app.submissions()[0].state == "ended")
    assert app.status()["stages"]["captions"]["state"] == "done"
    assert len(app.captions()) == 20
    assert len(app.submissions()) == 1


def test_a_claim_that_was_withdrawn_half_way_is_seen_by_nobody(app, at_once, monkeypatch):
    assert app("submit", *LOCAL).code == 0
    [done] = app.submissions()
    (app.path / "captions/write/seal.json").unlink()
    claimed = claim(app.run, "captions", [1], done.record)
    assert claimed is not None

    def killed(path: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as half_way:
        half_way.setattr("synthclip_hpc.submissions.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            withdraw(claimed)
    [left] = [path for path in app.run.submissions_path.iterdir() if path.name != done.name]
    (left / "record.json").unlink()
    assert [one.name for one in all_submissions(app.run)] == [done.name]
    for verb in ("status", "resume", "cancel", "repair", "verify"):
        outcome = app(verb)
        assert outcome.code == 0, (verb, outcome)


def test_a_finished_stage_is_told_from_another_directory_when_its_bank_is_gone(app, at_once, tmp_path, monkeypatch):
    bank = tmp_path / "bank.txt"
    bank.write_text("cat\ndog\n")
    assert app("submit", "stage=captions", "concepts.bank=bank.txt").code == 0
    assert app.run.load_config().concepts.bank == str(bank)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert app("submit", "stage=captions").code == 0
    bank.unlink()
    for words in (["stage=captions"], ["stage=captions", "workers=3"]):
        outcome = app("submit", *words)
        assert outcome.code == 0, outcome
        assert "captions/write: done (1 of 1 shards sealed)" in outcome.out
    assert app("resume").code == 0
    outcome = app("submit", "stage=captions", "seed=5")
    assert outcome.code == 2
    assert f"concepts.bank={bank}" in outcome.err
    assert len(app.submissions()) == 1


def test_a_profile_is_frozen_where_it_lies(app, fake_slurm, tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('[default]\npartition = "gpu"\n')
    outcome = app("submit", *SMALL, "slurm.profile=mine.toml")
    assert outcome.code == 0, outcome
    assert app.run.load_config().slurm.profile == str(tmp_path / "mine.toml")
    monkeypatch.chdir("/")
    assert call("resume", f"run={app.path}").code == 0
    assert "#SBATCH --partition=gpu\n" in fake_slurm.scripts()[2]
