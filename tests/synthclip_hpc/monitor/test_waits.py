"""Why jobs wait, in plain words."""

from __future__ import annotations

import pytest

from slurm.queue import QueueRow
from synthclip_hpc.monitor.waits import in_words, waits_of


@pytest.mark.parametrize(
    ("reason", "words", "stuck"),
    [
        ("Priority", "others are before it", False),
        ("Resources", "as soon as there is room", False),
        ("Dependency", "waits for the stage before it", False),
        ("JobArrayTaskLimit", "slurm.throttle", False),
        ("BeginTime", "requeued", False),
        ("QOSMaxGRESPerUser", "quality of service", False),
        ("QOSMaxJobsPerUserLimit", "starts when other jobs of yours end", False),
        ("AssocGrpCpuLimit", "your account has used up its share", False),
        ("AssocGrpCPURunMinutesLimit", "your account has used up its share", False),
        ("QOSMaxWallDurationPerJobLimit", "lower slurm.time_min", True),
        ("AssocMaxWallDurationPerJobLimit", "more than your account lets one job have: lower slurm.time_min", True),
        ("QOSMaxNodePerJobLimit", "lower slurm.nodes", True),
        ("QOSMaxGRESPerJob", "lower slurm.gres or gpus_per_node", True),
        ("QOSMaxGRESMinutesPerJob", "lower slurm.time_min", True),
        ("AssocMaxCpuPerJobLimit", "lower slurm.cpus or tasks_per_node", True),
        ("QOSMaxMemoryPerNode", "lower slurm.memory", True),
        ("MaxMemPerLimit", "lower slurm.memory", True),
        ("QOSMinGRES", "less than your quality of service wants of a job: raise slurm.gres", True),
        ("QOSMinCpuNotSatisfied", "raise slurm.cpus", True),
        ("AssocGrpGRESMinutes", "the budget of your account is used up", True),
        ("AssocGrpBillingMinutes", "change slurm.account", True),
        ("AssocGrpCPUMinutesLimit", "the budget of your account is used up", True),
        ("QOSGrpGRESMinutes", "change slurm.qos", True),
        ("AssocGrpWallLimit", "the budget of your account is used up", True),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", "(UnavailableNodes:n[1-2])", False),
        ("(Nodes required for job are DOWN)", "nodes that it needs are down", False),
        ("DependencyNeverSatisfied", "will never start", True),
        ("JobHeldUser", "held by you", True),
        ("JobHeldAdmin", "administrator", True),
        ("job requeued in held state", "was requeued and is held: scontrol release JOB", True),
        ("BadConstraints", "asks for what no node has", True),
        ("SomethingNew", "Slurm says SomethingNew", False),
        ("SomethingNewHeld", "Slurm says SomethingNewHeld", True),
        ("None", "not looked at it yet", False),
    ],
)
def test_a_reason_becomes_a_sentence(reason: str, words: str, stuck: bool) -> None:
    text, is_stuck = in_words(reason)
    assert words in text
    assert is_stuck == stuck


def row(reason: str, *, state: str = "PENDING", name: str = "x-1", start: float | None = None) -> QueueRow:
    return QueueRow("1_0", "1", 0, name, state, reason, "", start, None)


def test_what_waits_is_counted_by_reason_with_the_earliest_start_and_the_stuck_come_first() -> None:
    rows = [row("Priority", start=50.0), row("Priority", start=40.0), row("Priority"), row("JobHeldUser")]
    stuck, waiting = waits_of([*rows, row("None", state="RUNNING")])
    assert (stuck.reason, stuck.jobs, stuck.stuck, stuck.starts) == ("JobHeldUser", 1, True, None)
    assert (waiting.reason, waiting.jobs, waiting.stuck, waiting.starts) == ("Priority", 3, False, 40.0)


def test_a_seal_job_that_waits_for_its_array_is_no_news_but_one_that_never_starts_is() -> None:
    assert waits_of([row("Dependency", name="x-1-seal")]) == ()
    [wait] = waits_of([row("DependencyNeverSatisfied", name="x-1-seal")])
    assert wait.stuck


@pytest.mark.parametrize("reason", ["JobHeldUser", "job requeued in held state"])
def test_what_is_held_names_the_jobs_to_release_and_no_start(reason: str) -> None:
    [wait] = waits_of([row(reason, start=50.0), row(reason, start=60.0)])
    assert "scontrol release 1, or cancel and resume" in wait.text
    assert (wait.jobs, wait.starts) == (2, None)
