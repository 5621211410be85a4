"""Keeping what waits away from a node: what Slurm is asked, and when it is better left alone."""

from __future__ import annotations

import pytest

from slurm.avoidance import avoid_node
from tests.fake_slurm import fake_slurm

__all__ = ["fake_slurm"]

HALF_DONE = {"exit": 1, "stderr": "11_0,2: Job is no longer pending execution\n11_1,3-5: No error\n"}
ALL_RUN = {"exit": 1, "stderr": "11_0-5: Job is no longer pending execution\n"}


def told(
    fake_slurm, job: str, *, queue: str, avoided: str, nodes: str = "n1\nn2\nn3\nn4\n", update: dict | None = None
):
    """What `avoid_node` answers when Slurm says this."""
    fake_slurm.answer("squeue", {"stdout": queue})
    fake_slurm.answer(
        "scontrol",
        {"stdout": avoided},
        {"stdout": "PartitionName=main AllowGroups=ALL Nodes=n[1-4] TotalNodes=4\n"},
        {"stdout": nodes},
        update or {},
    )
    return avoid_node(job, "n1")


def test_a_waiting_element_is_kept_away_from_the_node_and_from_what_it_avoids_already(fake_slurm):
    assert told(fake_slurm, "11_3", queue="main|n[3-4]\n", avoided="n1\nn3\nn4\n") is None
    assert fake_slurm.arguments("squeue") == [["-h", "-j", "11_3", "-o", "%P|%x"]]
    assert fake_slurm.arguments("scontrol") == [
        ["show", "hostnames", "n1,n[3-4]"],
        ["-o", "show", "partition", "main"],
        ["show", "hostnames", "n[1-4]"],
        ["update", "JobId=11_3", "ExcNodeList=n1,n3,n4"],
    ]


def test_of_an_array_those_that_run_are_no_refusal(fake_slurm):
    assert told(fake_slurm, "11", queue="main|\nmain|(null)\n", avoided="n1\n", update=HALF_DONE) is None
    assert fake_slurm.arguments("scontrol")[-1] == ["update", "JobId=11", "ExcNodeList=n1"]


def test_where_nothing_waits_slurm_s_words_are_told(fake_slurm):
    answer = told(fake_slurm, "11", queue="main|\n", avoided="n1\n", update=ALL_RUN)
    assert answer is not None and "Job is no longer pending execution" in answer


def test_the_last_node_of_a_partition_is_not_avoided(fake_slurm):
    answer = told(fake_slurm, "11", queue="main|n[2-4]\n", avoided="n1\nn2\nn3\nn4\n")
    assert answer == "partition main has no other node left"
    assert not any("update" in words for words in fake_slurm.arguments("scontrol"))


def test_a_job_that_has_left_the_queue_is_left_alone(fake_slurm):
    assert told(fake_slurm, "11", queue="", avoided="") == "11 is not in the queue"
    assert fake_slurm.calls("scontrol") == []


@pytest.mark.parametrize("program", ["squeue", "scontrol"])
def test_a_slurm_that_does_not_answer_is_told_and_raises_nothing(fake_slurm, program):
    fake_slurm.answer("squeue", {"stdout": "main|\n"})
    fake_slurm.answer(program, {"exit": 1, "stderr": "Unable to contact slurm controller"})
    answer = avoid_node("11", "n1")
    assert answer is not None and "Unable to contact slurm controller" in answer


def test_a_partition_that_tells_no_nodes_is_left_alone(fake_slurm):
    fake_slurm.answer("squeue", {"stdout": "main|\n"})
    fake_slurm.answer("scontrol", {"stdout": "n1\n"}, {"stdout": "PartitionName=main Nodes=(null)\n"})
    assert avoid_node("11", "n1") == "partition main tells no nodes"
