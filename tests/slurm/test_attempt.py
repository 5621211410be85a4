from __future__ import annotations

import os
import signal

import pytest

from slurm.attempt import Attempt, CancelRefused, RequeueRefused, cancel, from_environment, requeue

# The last element of an array has the array's own number as SLURM_JOB_ID.
_ELEMENT = {
    "SLURM_JOB_ID": "9",
    "SLURM_ARRAY_JOB_ID": "9",
    "SLURM_ARRAY_TASK_ID": "4",
    "SLURM_RESTART_COUNT": "2",
    "SLURMD_NODENAME": "n3",
}


def test_an_array_element_is_named_by_array_index_and_restart():
    attempt = from_environment(_ELEMENT)
    assert attempt == Attempt("9", 4, 2, "n3")
    assert attempt is not None
    assert (attempt.name, attempt.element_id) == ("9_4_2", "9_4")


def test_a_plain_job_in_its_first_life_has_no_restart_count():
    attempt = from_environment({"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"})
    assert attempt is not None
    assert (attempt.name, attempt.element_id) == ("7_0_0", "7")


def test_outside_slurm_there_is_no_attempt():
    assert from_environment({}) is None


def test_the_node_is_the_host_where_slurm_does_not_name_it():
    attempt = from_environment({"SLURM_JOB_ID": "7"})
    assert attempt is not None
    assert attempt.node == os.uname().nodename


def test_requeue_names_the_element(fake_slurm):
    fake_slurm.answer("scontrol", {})
    requeue("9_4")
    assert fake_slurm.arguments("scontrol") == [["requeue", "9_4"]]


def test_a_refused_requeue_tells_slurms_words(fake_slurm):
    fake_slurm.answer("scontrol", {"exit": 1, "stderr": "Requested operation is presently disabled"})
    with pytest.raises(RequeueRefused, match=r"cannot requeue 9_4.*presently disabled"):
        requeue("9_4")


def test_a_hanging_requeue_is_refused(fake_slurm):
    fake_slurm.answer("scontrol", {"sleep_s": 60})
    with pytest.raises(RequeueRefused, match="did not answer"):
        requeue("9_4", timeout_s=0.3)


def test_a_scontrol_that_dies_of_the_requeue_itself_counts_as_done(fake_slurm):
    fake_slurm.answer("scontrol", {"signal": int(signal.SIGTERM)})
    requeue("9_4")
    fake_slurm.answer("scontrol", {"signal": int(signal.SIGSEGV)})
    with pytest.raises(RequeueRefused):
        requeue("9_4")


def test_cancel_takes_ids_in_one_call_and_each_name_in_its_own(fake_slurm):
    cancel(["12", "13_4"], ["run.a", "run.b"])
    user = f"--user={os.getuid()}"
    assert fake_slurm.arguments("scancel") == [["12", "13_4"], ["--name=run.a", user], ["--name=run.b", user]]


def test_cancel_of_nothing_calls_nothing(fake_slurm):
    cancel()
    assert fake_slurm.calls("scancel") == []


def test_thousands_of_ids_are_cancelled_in_several_calls(fake_slurm):
    cancel([str(number) for number in range(1201)])
    assert [len(arguments) for arguments in fake_slurm.arguments("scancel")] == [500, 500, 201]


def test_cancelling_what_has_ended_is_no_error(fake_slurm):
    fake_slurm.answer("scancel", {"exit": 1, "stderr": "scancel: error: Kill job error on job id 12: Invalid job id\n"})
    cancel(["12"])


def test_a_cancel_that_fails_is_told_after_all_were_tried(fake_slurm):
    fake_slurm.answer("scancel", {"exit": 1, "stderr": "Access/permission denied"})
    with pytest.raises(CancelRefused, match="permission denied"):
        cancel(["12"], ["run.a"])
    assert len(fake_slurm.calls("scancel")) == 2


def test_a_name_that_is_not_exact_is_refused(fake_slurm):
    with pytest.raises(ValueError, match="not valid"):
        cancel(names=["run.a,run.b"])
    assert fake_slurm.calls("scancel") == []
