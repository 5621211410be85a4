"""`cluster=slurm` from the outside: what sbatch is asked, what a refusal leaves, and what becomes of a lost answer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from synthclip_hpc.processes import identify
from synthclip_hpc.submissions import update
from tests.synthclip_hpc.app import call, tree

SMALL = ("stage=captions", "concepts.limit=20", "captions.shard_items=5", "cluster=slurm")


def row(job: str, name: str, state: str = "PENDING", reason: str = "Priority", index: int | str = "N/A") -> str:
    """One line of squeue as `slurm.queue` asks for it."""
    job_id = job if index == "N/A" else f"{job}_{index}"
    return f"{job_id}|{job}|{index}|{name}|{state}|{reason}||N/A|N/A\n"


def own_names(app, number: int = 1) -> list[str]:
    """The names of the jobs of a submission of captions."""
    base = f"{app.run.job_name('captions', 'write')}-{number}"
    return [base, f"{base}-seal"]


def cancelled(fake_slurm) -> list[str]:
    """The names of the jobs that scancel was called for; it must be asked by nothing else."""
    calls = fake_slurm.arguments("scancel")
    assert all(len(words) == 2 and words[1] == f"--user={os.getuid()}" for words in calls), calls
    return [words[0].removeprefix("--name=") for words in calls]


@pytest.fixture
def in_queue(app, fake_slurm):
    """Make squeue answer that the array of the first submission is waiting."""

    def answer(job: str = "101", **more) -> None:
        name = f"{app.run.job_name('captions', 'write')}-1"
        fake_slurm.answer("squeue", {"stdout": row(job, name, **({"index": 0} | more))})

    return answer


def test_a_phase_becomes_an_array_and_a_seal_job_behind_it(app, fake_slurm):
    outcome = app("submit", *SMALL, "slurm.elements=3", "slurm.partition=gpu")
    assert outcome.code == 0, outcome
    array, seal = fake_slurm.scripts()
    assert "#SBATCH --array=0-2\n" in array
    assert "#SBATCH --dependency=afterany:101\n" in seal
    run_id = app.run.run_id()
    assert f"#SBATCH --job-name=synthclip-{run_id}-captions-write-1\n" in array
    assert f"#SBATCH --job-name=synthclip-{run_id}-captions-write-1-seal\n" in seal
    assert "#SBATCH --partition=gpu\n" in array and "#SBATCH --partition=gpu\n" in seal
    [one] = app.submissions()
    assert (one.state, one.num_elements, one.job_ids) == ("submitted", 3, ["101", "102"])
    assert "(jobs 101, 102)" in outcome.out


def test_the_record_is_claimed_before_sbatch_and_finished_after(app, fake_slurm, monkeypatch):
    from slurm.submission import submit_array

    seen = []

    def spy(*given):
        [record] = app.path.glob("submissions/*/record.json")
        seen.append(json.loads(record.read_text()))
        return submit_array(*given)

    monkeypatch.setattr("synthclip_hpc.launch.arrays.submit_array", spy)
    assert app("submit", *SMALL).code == 0
    [before] = seen
    [after] = app.submissions()
    assert (before["state"], before.get("array_jobs")) == ("claimed", None)
    assert before["claimer"]["pid"] == os.getpid()
    assert (after.state, after.record["array_jobs"], after.record["seal_jobs"]) == ("submitted", ["101"], ["102"])


REFUSALS = [
    ("invalid partition specified: gpux", "slurm.partition"),
    ("Invalid account or account/partition combination specified", "slurm.account"),
    ("Requested time limit is invalid (missing or exceeds some limit)", "slurm.time_min"),
    ("Invalid job array specification", "slurm.max_array_size"),
    ("AssocMaxSubmitJobLimit", "slurm.elements"),
]


@pytest.mark.parametrize(
    ("words", "hint", "refused"),
    [(*one, "array") for one in REFUSALS] + [(*one, "seal job") for one in REFUSALS[:2]],
)
def test_a_refusal_is_told_with_a_hint_and_leaves_nothing(app, fake_slurm, words, hint, refused):
    no = {"exit": 1, "stderr": f"sbatch: error: {words}\n"}
    fake_slurm.answer("sbatch", *([no] if refused == "array" else [{"stdout": "Submitted batch job 55\n"}, no]))
    outcome = app("submit", *SMALL)
    assert outcome.code == 2
    assert words in outcome.err and hint in outcome.err
    assert "Traceback" not in outcome.err
    assert list(app.run.submissions_path.iterdir()) == []
    assert not [path for path in tree(app.path) if path.endswith((".pkl", ".sh"))]
    assert cancelled(fake_slurm) == ([] if refused == "array" else own_names(app))
    # Mended, the same command goes on where the refusal left it.
    fake_slurm.answer("sbatch", {"stdout": "Submitted batch job 60\n"}, {"stdout": "Submitted batch job 61\n"})
    (fake_slurm.state / "sbatch.calls").unlink()
    assert app("submit", *SMALL).code == 0
    assert [one.job_ids for one in app.submissions()] == [["60", "61"]]


def test_an_array_left_running_by_a_refused_seal_job_is_found_again_and_gets_its_seal_job(app, fake_slurm, in_queue):
    no = {"exit": 1, "stderr": "sbatch: error: AssocMaxSubmitJobLimit\n"}
    fake_slurm.answer("sbatch", {"stdout": "Submitted batch job 55\n"}, no)
    fake_slurm.answer("scancel", {"exit": 1, "stderr": "Unable to contact slurm controller"})
    outcome = app("submit", *SMALL)
    assert outcome.code == 2
    assert "AssocMaxSubmitJobLimit" in outcome.err
    # The elements may start any moment and look for their submission: it must still be there.
    [one] = app.submissions()
    assert one.record["array_jobs"] == ["55"]
    in_queue("55")
    the_command_is_gone(app)
    fake_slurm.answer("sbatch", {"stdout": "Submitted batch job 56\n"})
    again = app("resume", "cluster=slurm")
    assert again.code == 0, again
    assert "already submitted as 00001-captions (jobs 55, 56)" in again.out
    assert "#SBATCH --dependency=afterany:55\n" in fake_slurm.scripts()[2]
    assert len(fake_slurm.calls("sbatch")) == 3


def test_one_of_several_arrays_left_running_keeps_its_submission_as_well(app, fake_slurm):
    no = {"exit": 1, "stderr": "sbatch: error: AssocMaxSubmitJobLimit\n"}
    fake_slurm.answer("sbatch", {"stdout": "Submitted batch job 55\n"}, no)
    fake_slurm.answer("scancel", {"exit": 1, "stderr": "Unable to contact slurm controller"})
    outcome = app("submit", *SMALL, "slurm.elements=4", "slurm.max_array_size=2")
    assert outcome.code == 2
    assert "AssocMaxSubmitJobLimit" in outcome.err and "scancel 55" in outcome.err
    [one] = app.submissions()
    assert one.state == "claimed"
    assert len(list(one.path.glob("55_*_submitted.pkl"))) == 2


@pytest.mark.parametrize("missing", [("sbatch",), ("sbatch", "scancel", "squeue", "srun", "scontrol", "sacct")])
def test_no_sbatch_on_the_path_is_a_refusal_that_names_the_local_cluster(app, fake_slurm, missing):
    for program in missing:
        fake_slurm.remove(program)
    outcome = app("submit", *SMALL)
    assert outcome.code == 2
    assert "not on the PATH" in outcome.err and "cluster=local" in outcome.err
    assert list(app.run.submissions_path.iterdir()) == []


@pytest.mark.parametrize(
    "word",
    [
        "slurm.partition=gpu\n#SBATCH --uid=0",
        "slurm.setup=module load a\ncurl evil",
        "slurm.account=a\x07b",
        "slurm.python='open quote",
    ],
)
def test_a_value_that_would_inject_into_the_script_is_refused(app, fake_slurm, word):
    outcome = app("submit", *SMALL, word)
    assert outcome.code == 2
    assert word.partition("=")[0] in outcome.err
    assert fake_slurm.calls("sbatch") == []
    assert not app.run.submissions_path.exists() or list(app.run.submissions_path.iterdir()) == []


def test_a_value_with_shell_signs_reaches_no_shell(app, fake_slurm):
    outcome = app("submit", *SMALL, "slurm.python=py $(touch x) `y` ;z", "slurm.comment=1")
    assert outcome.code == 2  # there is no slurm.comment
    assert app("submit", *SMALL, "slurm.python=py $(touch x) `y` ;z").code == 0
    script = fake_slurm.scripts()[0]
    assert "py '$(touch' 'x)' '`y`' ';z'" in script


@pytest.mark.parametrize("name", ["with space", "it's", 'say "hi"', "$(touch x)", "ünï-ß", "a;b&c", "-dash", "#hash"])
def test_a_run_directory_with_an_awkward_name_is_submitted_or_refused_whole(app, fake_slurm, name):
    path = app.path.parent / name
    outcome = call("submit", *SMALL, f"run={path}")
    assert outcome.code == 0, outcome
    import shlex

    array, _ = fake_slurm.scripts()
    command = next(line for line in array.splitlines() if line.startswith("srun "))
    assert f"--output={path}/logs/captions/00001-captions_%A_%a.log" in shlex.split(command)
    assert not (app.path.parent / "x").exists()
    assert f"run={shlex.quote(str(path))}" in outcome.out


@pytest.mark.parametrize("name", ["percent%A", "new\nline", "back\\slash"])
def test_a_run_directory_that_slurm_would_misread_is_refused_and_nothing_is_left(app, fake_slurm, name):
    path = app.path.parent / name
    outcome = call("submit", *SMALL, f"run={path}")
    assert outcome.code == 2
    assert "run directory" in outcome.err or "one printable line" in outcome.err
    assert fake_slurm.calls("sbatch") == []
    assert list((path / "submissions").iterdir()) == []


def test_what_is_in_the_queue_is_not_submitted_again(app, fake_slurm, in_queue):
    assert app("submit", *SMALL).code == 0
    in_queue()
    for verb in ("resume", "submit"):
        outcome = app(verb, *(SMALL if verb == "submit" else ("cluster=slurm",)))
        assert outcome.code == 0
        assert "already submitted as 00001-captions (jobs 101, 102)" in outcome.out
    assert len(fake_slurm.calls("sbatch")) == 2
    assert len(app.submissions()) == 1


def test_a_seal_job_that_still_waits_keeps_the_phase_alive(app, fake_slurm):
    assert app("submit", *SMALL).code == 0
    [_, name] = own_names(app)
    fake_slurm.answer("squeue", {"stdout": row("102", name, reason="Dependency")})
    assert "already submitted" in app("resume").out
    assert len(fake_slurm.calls("sbatch")) == 2


def test_what_has_left_the_queue_is_submitted_again_for_what_is_missing(app, fake_slurm):
    assert app("submit", *SMALL).code == 0
    outcome = app("resume", "cluster=slurm", "slurm.time_min=7")
    assert outcome.code == 0, outcome
    assert [one.shards() for one in app.submissions()] == [[0, 1, 2, 3]] * 2
    assert "#SBATCH --time=7\n" in fake_slurm.scripts()[2]


def crashed_before_the_record_was_finished(app) -> None:
    """As if the command had been killed between sbatch's answer and the writing of it."""
    forget(app, "array_jobs", "seal_jobs")
    the_command_is_gone(app)


def forget(app, *keys: str) -> None:
    """Put the record back to where it was before these were known."""
    [one] = app.submissions()
    record = {key: value for key, value in one.record.items() if key not in keys}
    (one.path / "record.json").write_text(json.dumps(record | {"state": "claimed"}))


def the_command_is_gone(app) -> None:
    [one] = app.submissions()
    update(one, claimer={**one.record["claimer"], "pid": 2**22 + 1})


def test_a_job_whose_id_was_never_recorded_is_found_by_its_name(app, fake_slurm, in_queue):
    assert app("submit", *SMALL).code == 0
    crashed_before_the_record_was_finished(app)
    in_queue()
    outcome = app("resume", "cluster=slurm")
    assert outcome.code == 0, outcome
    assert "00001-captions is being submitted by another command, or was left half-way" in outcome.out
    assert len(fake_slurm.calls("sbatch")) == 2
    assert app("cancel").code == 0
    assert cancelled(fake_slurm) == own_names(app)


def test_a_claim_of_a_dead_command_without_a_job_is_given_up(app, fake_slurm):
    assert app("submit", *SMALL).code == 0
    crashed_before_the_record_was_finished(app)
    assert app("resume", "cluster=slurm").code == 0
    assert [one.name for one in app.submissions()] == ["00001-captions", "00002-captions"]


def test_a_claim_of_a_living_command_is_respected(app, fake_slurm):
    assert app("submit", *SMALL).code == 0
    crashed_before_the_record_was_finished(app)
    update(app.submissions()[0], claimer=identify(os.getpid()))
    assert "is being submitted by another command" in app("resume", "cluster=slurm").out
    assert len(fake_slurm.calls("sbatch")) == 2


def test_cancel_asks_by_the_names_of_the_submission_and_resume_goes_on(app, fake_slurm, in_queue):
    assert app("submit", *SMALL).code == 0
    in_queue()
    assert app("cancel").code == 0
    assert cancelled(fake_slurm) == own_names(app)
    assert [one.state for one in app.submissions()] == ["cancelled"]
    assert app("resume").code == 0
    assert len(app.submissions()) == 2


def test_a_cancel_that_slurm_refuses_leaves_the_submission_open(app, fake_slurm, in_queue):
    assert app("submit", *SMALL).code == 0
    in_queue()
    fake_slurm.answer("scancel", {"exit": 1, "stderr": "Unable to contact slurm controller"})
    outcome = app("cancel")
    assert outcome.code == 2
    assert "Unable to contact" in outcome.err
    assert [one.state for one in app.submissions()] == ["submitted"]


def test_a_slurm_that_does_not_answer_keeps_no_local_worker_alive(app, fake_slurm):
    assert app("submit", *SMALL).code == 0
    [asked] = app.submissions()
    worker = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    here = asked.path.with_name("00002-captions")
    here.mkdir()
    record = asked.record | {"cluster": "local", "supervisor": identify(worker.pid)}
    (here / "record.json").write_text(json.dumps(record))
    for program in ("squeue", "scancel"):
        fake_slurm.answer(program, {"exit": 1, "stderr": "Unable to contact slurm controller"})
    outcome = app("cancel")
    assert worker.wait(30) == -signal.SIGTERM
    assert outcome.code == 2
    assert outcome.out.startswith("cancelled: 00002-captions. ")
    assert "not cancelled: 00001-captions: scancel failed" in outcome.err
    assert outcome.err.count("Unable to contact") == 1
    assert [one.state for one in app.submissions()] == ["submitted", "cancelled"]


def test_resume_stays_on_the_cluster_of_the_latest_submission(app, fake_slurm):
    assert app("submit", *SMALL).code == 0
    outcome = call("resume", f"run={app.path}")
    assert outcome.code == 0
    assert [one.cluster for one in app.submissions()] == ["slurm", "slurm"]
    assert re.search(r"submission 00002-captions \(jobs \d+, \d+\)", outcome.out)
