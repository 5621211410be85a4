from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.profiles import ProfileError, Resources
from slurm.submission import (
    JobRequest,
    SubmissionRefused,
    clear_stale_result,
    render_script,
    submit_array,
    submit_job,
)
from tests.slurm.nodework import work


def make_request(folder: Path, log: str = "/logs/%A_%a.log", dependency: str | None = None, **resources) -> JobRequest:
    return JobRequest("run.a", folder, log, Resources(**{"python": "python3", **resources}), dependency)


def arguments(count: int) -> list[tuple[str, int]]:
    return [("folder", number) for number in range(count)]


def array_lines(scripts: list[str]) -> list[str]:
    return [line for script in scripts for line in script.splitlines() if line.startswith("#SBATCH --array")]


@pytest.fixture
def request_at(tmp_path: Path):
    def make(folder: str = "submission", **resources) -> JobRequest:
        return make_request(tmp_path / folder, str(tmp_path / "logs" / "%A_%a.log"), **resources)

    return make


def test_an_array_is_one_sbatch_with_one_small_pickle_an_element(fake_slurm, request_at):
    request = request_at()
    assert submit_array(request, work, arguments(5)) == ["101"]
    assert array_lines(fake_slurm.scripts()) == ["#SBATCH --array=0-4"]
    pickles = sorted(path.name for path in request.folder.glob("*.pkl"))
    assert pickles == [f"101_{number}_submitted.pkl" for number in range(5)]
    for path in request.folder.glob("*.pkl"):
        assert path.stat().st_size < 1000
    delayed = pickle.loads((request.folder / "101_3_submitted.pkl").read_bytes())
    assert (delayed.function, delayed.args) == (work, ("folder", 3))
    # 5 pickles, the script, and submitit's link to it.
    assert len(list(request.folder.iterdir())) == 7


def test_the_folder_of_the_logs_is_made_because_slurm_makes_none(fake_slurm, request_at, tmp_path):
    submit_array(request_at(), work, arguments(2))
    assert (tmp_path / "logs").is_dir()


def test_a_lone_element_is_a_plain_job_with_zero_for_its_index(fake_slurm, request_at, tmp_path):
    assert submit_array(request_at(), work, arguments(1)) == ["101"]
    [script] = fake_slurm.scripts()
    assert "--array" not in script
    assert f"#SBATCH --output={tmp_path}/logs/%j_0.log\n" in script
    assert f"--output={tmp_path}/logs/%j_0.log " in script


def test_a_plain_job_runs_the_function_in_all_its_tasks(fake_slurm, tmp_path):
    request = make_request(tmp_path / "s", str(tmp_path / "%j.log"), nodes=2, tasks_per_node=3, gpus_per_node=4)
    assert submit_job(request, work, ("folder", 0)) == "101"
    [script] = fake_slurm.scripts()
    for line in ("--nodes=2", "--ntasks-per-node=3", "--gpus-per-node=4", f"--output={tmp_path}/%j.log"):
        assert f"#SBATCH {line}\n" in script


def test_more_elements_than_the_cluster_allows_become_several_arrays(fake_slurm, request_at):
    fake_slurm.answer("scontrol", {"stdout": "MaxArraySize = 10\n"})
    request = request_at(throttle=7)
    assert submit_array(request, work, arguments(25)) == ["101", "102", "103"]
    assert array_lines(fake_slurm.scripts()) == [
        "#SBATCH --array=0-9%3",
        "#SBATCH --array=0-9%2",
        "#SBATCH --array=0-4%2",
    ]
    delayed = pickle.loads((request.folder / "103_4_submitted.pkl").read_bytes())
    assert delayed.args == ("folder", 24)
    assert not any("--dependency" in script for script in fake_slurm.scripts())


def test_arrays_wait_for_one_another_when_the_throttle_is_smaller_than_their_number(fake_slurm, tmp_path):
    log = str(tmp_path / "%A_%a.log")
    request = make_request(tmp_path / "s", log, dependency="afterok:5", throttle=2, max_array_size=4)
    assert submit_array(request, work, arguments(10)) == ["101", "102", "103"]
    scripts = fake_slurm.scripts()
    assert [line.split("%")[1] for line in array_lines(scripts)] == ["2", "2", "2"]
    assert "#SBATCH --dependency=afterok:5\n" in scripts[0]
    assert "#SBATCH --dependency=afterok:5,afterany:101\n" in scripts[1]
    assert "#SBATCH --dependency=afterok:5,afterany:102\n" in scripts[2]
    assert fake_slurm.calls("scontrol") == []


def test_two_thousand_elements_are_submitted_at_the_default_limit(fake_slurm, request_at):
    assert len(submit_array(request_at(), work, arguments(2000))) == 2
    assert array_lines(fake_slurm.scripts()) == ["#SBATCH --array=0-1000", "#SBATCH --array=0-998"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("invalid partition specified: gpux\nsbatch: error: Batch job submission failed", "slurm.partition"),
        ("Invalid account or account/partition combination specified", "slurm.account"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "slurm.time_min"),
        ("Invalid job array specification", "slurm.max_array_size"),
        ("QOSMaxSubmitJobPerUserLimit: Job violates accounting/QOS policy (job submit limit)", "slurm.elements"),
        ("AssocMaxSubmitJobLimit", "slurm.elements"),
        ("Invalid qos specification", "slurm.qos"),
        ("Invalid generic resource (gres) specification", "slurm.gres"),
        ("Invalid feature specification", "slurm.constraint"),
        ("Memory specification can not be satisfied", "slurm.memory"),
        ("Requested node configuration is not available", "slurm.nodes"),
        ("something new", "--dry-run"),
    ],
)
def test_a_refusal_tells_sbatchs_words_and_a_hint_and_leaves_nothing(
    fake_slurm, request_at, tmp_path, capfd, words, hint
):
    fake_slurm.answer("sbatch", {"exit": 1, "stderr": f"sbatch: error: {words}\n"})
    with pytest.raises(SubmissionRefused) as caught:
        submit_array(request_at(), work, arguments(3))
    assert " ".join(words.split()) in str(caught.value)
    assert hint in caught.value.hint
    assert (caught.value.left_running, caught.value.uncertain) == ((), False)
    assert list(tmp_path.iterdir()) == []
    # The words are in the exception; printed as well they would stand there twice.
    assert capfd.readouterr().err == ""


def test_a_refusal_leaves_what_others_have_written(fake_slurm, request_at):
    request = request_at()
    request.folder.mkdir()
    mine = {"record.json", "77_submission.sh", "77_0_submitted.pkl", "notes.pkl"}
    for name in mine:
        (request.folder / name).write_text("x")
    fake_slurm.answer("sbatch", {"exit": 1, "stderr": "no"})
    for submit in (lambda: submit_array(request, work, arguments(3)), lambda: submit_job(request, work, ("f", 1))):
        with pytest.raises(SubmissionRefused):
            submit()
        assert {path.name for path in request.folder.iterdir()} == mine


def test_when_the_second_array_is_refused_the_first_is_cancelled(fake_slurm, request_at, tmp_path):
    fake_slurm.answer("sbatch", {"stdout": "Submitted batch job 55\n"}, {"exit": 1, "stderr": "AssocMaxSubmitJobLimit"})
    with pytest.raises(SubmissionRefused, match="AssocMaxSubmitJobLimit"):
        submit_array(request_at(max_array_size=4), work, arguments(6))
    assert fake_slurm.arguments("scancel") == [["55"]]
    assert list(tmp_path.iterdir()) == []


def test_an_array_that_cannot_be_cancelled_again_is_named_and_keeps_its_files(fake_slurm, request_at):
    fake_slurm.answer("sbatch", {"stdout": "Submitted batch job 55\n"}, {"exit": 1, "stderr": "down"})
    fake_slurm.answer("scancel", {"exit": 1, "stderr": "Unable to contact slurm controller"})
    request = request_at(max_array_size=4)
    with pytest.raises(SubmissionRefused, match="scancel 55") as caught:
        submit_array(request, work, arguments(6))
    assert caught.value.left_running == ("55",)
    assert len(list(request.folder.glob("55_*_submitted.pkl"))) == 4


@pytest.mark.parametrize(
    ("answer", "words", "hint"),
    [
        ({"stdout": "Welcome to the cluster\n"}, "Welcome to the cluster", "squeue --me"),
        ({"exit": 1, "stderr": "Unable to contact slurm controller (connect failure)"}, "Unable to", "try again"),
        ({"exit": 1, "stderr": "Socket timed out on send/recv operation"}, "Socket timed out", "try again"),
        ({"exit": 1, "stderr": "Zero Bytes were transmitted or received"}, "Zero Bytes", "sbatch --test-only"),
        (
            {"exit": 1, "stdout": "Submitted batch job 55\n", "stderr": "Socket timed out on send/recv operation"},
            "Socket timed out",
            "try again",
        ),
    ],
)
def test_without_a_clear_answer_the_files_stay_for_a_job_that_may_be_there(fake_slurm, request_at, answer, words, hint):
    fake_slurm.answer("sbatch", answer)
    request = request_at()
    with pytest.raises(SubmissionRefused, match=words) as caught:
        submit_array(request, work, arguments(3))
    assert hint in caught.value.hint
    assert (caught.value.left_running, caught.value.uncertain) == ((), True)
    # A job of which only its first line is known looks for these.
    assert len(list(request.folder.glob("*.pkl"))) == 3
    assert Path(request.log).parent.is_dir()
    assert fake_slurm.calls("scancel") == []


@pytest.mark.parametrize("program", ["sbatch", "srun"])
def test_without_slurm_the_refusal_says_what_is_missing(fake_slurm, request_at, tmp_path, program):
    fake_slurm.remove(program)
    with pytest.raises(SubmissionRefused, match=f"{program} is not on the PATH") as caught:
        submit_array(request_at(), work, arguments(2))
    assert "cluster=local" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_takes_the_first_array_back_as_well(fake_slurm, request_at, monkeypatch, tmp_path):
    from slurm.executor import make_executor

    made = []

    def failing(*given):
        made.append(given)
        if len(made) == 2:
            raise OSError(28, "No space left on device")
        return make_executor(*given)

    monkeypatch.setattr("slurm.submission.make_executor", failing)
    with pytest.raises(OSError, match="No space left"):
        submit_array(request_at(max_array_size=2), work, arguments(4))
    assert fake_slurm.arguments("scancel") == [["101"]]
    assert list(tmp_path.iterdir()) == []


def test_sbatch_does_not_see_variables_of_another_job_or_that_overrule_the_script(fake_slurm, request_at, monkeypatch):
    foreign = {
        "SLURM_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "3", "SBATCH_TIMELIMIT": "1", "SBATCH_ARRAY_INX": "0-9",
        "SBATCH_PARTITION": "other", "SUBMITIT_PREEMPT_SIGNAL": "NONSENSE", "SUBMITIT_FOLDER": "/x", "SRUN_DEBUG": "3",
    }  # fmt: skip
    kept = {"SLURM_CONF": "/etc/c", "SBATCH_ACCOUNT": "mine", "SBATCH_RESERVATION": "r", "OTHER": "o"}
    for key, value in (foreign | kept).items():
        monkeypatch.setenv(key, value)
    before = dict(os.environ)
    submit_array(request_at(partition="gpu"), work, arguments(2))
    [call] = fake_slurm.calls("sbatch")
    assert {key: call["env"].get(key) for key in kept} == kept
    assert not set(foreign) & set(call["env"])
    assert dict(os.environ) == before


def test_submitits_signal_variable_changes_neither_the_script_nor_the_job(fake_slurm, tmp_path):
    program = (
        "import sys; from pathlib import Path; from slurm.submission import *; from slurm.profiles import Resources;"
        "print(render_script(JobRequest('a', Path('/f'), '/l/%A_%a', Resources(python='p')), 3))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=dict(os.environ) | extra,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for extra in ({}, {"SUBMITIT_PREEMPT_SIGNAL": "HUP"}, {"SUBMITIT_PREEMPT_SIGNAL": "NONSENSE"})
    }
    [text] = texts
    assert "#SBATCH --signal=USR2@120\n" in text
    assert "export SUBMITIT_PREEMPT_SIGNAL=USR2\n" in text


def test_functions_that_a_node_cannot_find_are_refused(fake_slurm, request_at, tmp_path):
    def local(folder, number): ...

    main = type(sys)("__main__")
    exec("def named(a, b): ...", main.__dict__)
    for function in (local, lambda a, b: None, main.named):
        with pytest.raises(ValueError, match="importable module"):
            submit_array(request_at(), function, arguments(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [[], [()], [("a", 1), ("b",)]])
def test_arguments_must_be_there_and_of_one_length(fake_slurm, request_at, wrong):
    with pytest.raises(ValueError, match="arguments"):
        submit_array(request_at(), work, wrong)


def test_an_array_whose_elements_would_share_a_log_is_refused(fake_slurm, tmp_path):
    request = make_request(tmp_path / "s", "/logs/%j.log")
    with pytest.raises(ProfileError, match="without %a"):
        submit_array(request, work, arguments(2))
    with pytest.raises(ProfileError, match="without %a"):
        render_script(request, 2)


def test_a_stale_temporary_result_of_a_killed_attempt_is_cleared(tmp_path, monkeypatch):
    clear_stale_result()  # outside a job: nothing happens
    stale = [tmp_path / "9_4_0_result.pkl.save_tmp", tmp_path / "9_4_submitted.pkl.save_tmp"]
    other = [tmp_path / "9_5_0_result.pkl.save_tmp", tmp_path / "9_4_0_result.pkl"]
    for path in stale + other:
        path.write_bytes(b"half")
    for key, value in {
        "SUBMITIT_FOLDER": str(tmp_path), "SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "9",
        "SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "4", "SLURM_PROCID": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    clear_stale_result()
    clear_stale_result()
    assert [path.exists() for path in stale + other] == [False, False, True, True]
