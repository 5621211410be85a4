"""Why jobs wait: Slurm's words in plain ones, and those that say that a job will never start."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from slurm.queue import QueueRow
from synthclip_hpc.monitor.parts import Wait

_LIMIT = re.compile(r"(Assoc|QOS)(Grp|Max|Min)")
"""How Slurm names its limits: whose, for all together or for one, then what is limited and, sometimes, `Per` whom."""
_OWNERS = {"Assoc": ("your account", "slurm.account"), "QOS": ("your quality of service", "slurm.qos")}
_JOB = "JOB"
"""Stands in words for the ids of the jobs that they are about."""
_STUCK = {
    "DependencyNeverSatisfied": "waits for a job that failed or was cancelled, and will never start: "
    "cancel, then resume",
    "JobHeldUser": "is held by you: scontrol release JOB, or cancel and resume",
    "JobHeldAdmin": "is held by an administrator, or Slurm gave it up after failed starts: ask, or cancel and resume",
    "JobHoldMaxRequeue": "was requeued too often and is held: scontrol release JOB, or cancel and resume",
    "job_requeued_in_held_state": "was requeued and is held: scontrol release JOB, or cancel and resume",
    "BadConstraints": "asks for what no node has: change slurm.constraint, gres, cpus or memory; cancel, then resume",
    "PartitionNodeLimit": "asks for more nodes than the partition gives one job: lower slurm.nodes",
    "PartitionTimeLimit": "asks for more time than the partition gives: lower slurm.time_min; cancel, then resume",
    "AccountNotAllowed": "its account may not use the partition: change slurm.account or slurm.partition",
    "QOSNotAllowed": "its quality of service may not be used here: change slurm.qos",
    "InvalidAccount": "its account is not known: change slurm.account; cancel, then resume",
    "InvalidQOS": "its quality of service is not known: change slurm.qos; cancel, then resume",
    "MaxMemPerLimit": "asks for more memory than is allowed: lower slurm.memory; cancel, then resume",
}
_PLAIN = {
    "None": "Slurm has not looked at it yet",
    "Priority": "others are before it in the queue",
    "Resources": "is next, as soon as there is room",
    "Dependency": "waits for the stage before it",
    "JobArrayTaskLimit": "the submission's own limit of elements at once (slurm.throttle)",
    "BeginTime": "waits for its time: a job that was requeued starts about two minutes later",
    "Reservation": "waits for a reservation",
    "ReqNodeNotAvail": "a node that it needs is down, reserved or about to be maintained",
    "Nodes_required_for_job_are_DOWN": "nodes that it needs are down, drained or reserved",
    "PartitionDown": "the partition is closed for the moment",
    "PartitionInactive": "the partition starts no jobs for the moment",
    "NodeDown": "a node that it needs is down",
    "Licenses": "waits for a licence",
    "Cleaning": "its last attempt is being cleaned up",
    "Prolog": "the node is being prepared",
    "JobLaunchFailure": "could not be started on its node; Slurm will try again",
    "SystemFailure": "the cluster failed while it was started; Slurm will try again",
    "RaisedSignal": "its last attempt was ended by a signal",
}
_KEYS = (
    ("Wall", "slurm.time_min"),
    ("Minutes", "slurm.time_min"),
    ("Node", "slurm.nodes"),
    ("Cpu", "slurm.cpus or tasks_per_node"),
    ("CPU", "slurm.cpus or tasks_per_node"),
    ("GRES", "slurm.gres or gpus_per_node"),
    ("Gres", "slurm.gres or gpus_per_node"),
    ("Mem", "slurm.memory"),
)
"""Which key asks for what a limit is about; the first that is found in the reason."""
_FAMILIES = (
    ("AssocGrp", "your account has used up its share of the moment: it starts when other jobs of the account end"),
    ("AssocMax", "more than your account may have at once: it starts when other jobs of yours end"),
    ("QOSGrp", "all who use this quality of service have used up its share: it starts when jobs of theirs end"),
    ("QOSMax", "more than this quality of service lets you have at once: it starts when other jobs of yours end"),
    ("Partition", "the partition's limits: compare slurm.time_min, nodes and account with scontrol show partition"),
    ("Assoc", "a limit of your account"),
    ("QOS", "a limit of your quality of service"),
)


def in_words(reason: str) -> tuple[str, bool]:
    """Return what a reason means, and whether the job will never start by itself. `JOB` stands for the job's id."""
    # Some reasons bear details behind a comma or in brackets, e.g. `ReqNodeNotAvail, UnavailableNodes:n[1-2]`.
    word, _, detail = reason.partition(",")
    word = word.strip("() ").replace(" ", "_")
    more = f" ({detail.strip()})" if detail.strip() else ""
    if word in _STUCK:
        return _STUCK[word] + more, True
    if "NeverSatisfied" in word or "held" in word.lower():
        return f"Slurm says {reason}: cancel, then resume", True
    if word in _PLAIN:
        return _PLAIN[word] + more, False
    never = _never(word)
    if never is not None:
        return f"{never} ({word})", True
    family = next((text for start, text in _FAMILIES if word.startswith(start)), None)
    return (f"{family} ({word})" if family is not None else f"Slurm says {reason}"), False


def _never(word: str) -> str | None:
    """Return the words for a limit that no other job's end makes room under; None for all others."""
    match = _LIMIT.match(word)
    if match is None:
        return None
    whose, key_of_whose = _OWNERS[match[1]]
    key = next((key for what, key in _KEYS if what in word.partition("Per")[0]), "what it asks for")
    if match[2] == "Min":
        return f"asks for less than {whose} wants of a job: raise {key}; cancel, then resume"
    if "PerJob" in word or "PerNode" in word:
        return f"asks for more than {whose} lets one job have: lower {key}; cancel, then resume"
    # Minutes of jobs that run ("Run") are given back at their ends; those of a budget when somebody renews it.
    if match[2] == "Grp" and ("Wall" in word or ("Minutes" in word and "Run" not in word)):
        return (
            f"the budget of {whose} is used up, and nothing starts until it is raised or renewed: ask those who run "
            f"the cluster, or change {key_of_whose}; cancel, then resume"
        )
    return None


def waits_of(rows: Iterable[QueueRow]) -> tuple[Wait, ...]:
    """Return why the rows that do not run wait, the most numerous reason first; seal jobs wait by design."""
    groups: dict[str, list[QueueRow]] = defaultdict(list)
    for row in rows:
        # A seal job always waits for its array; it is of interest when it will never come to its turn.
        if row.state == "PENDING" and not (row.name.endswith("-seal") and row.reason in ("Dependency", "None")):
            groups[row.reason].append(row)
    found = [_wait(reason, group) for reason, group in groups.items()]
    return tuple(sorted(found, key=lambda wait: (not wait.stuck, -wait.jobs)))


def _wait(reason: str, rows: Sequence[QueueRow]) -> Wait:
    text, stuck = in_words(reason)
    jobs = ",".join(dict.fromkeys(row.array_job_id for row in rows))
    # Slurm may give a start for what is held as well, which it will not keep.
    starts = None if stuck else min((row.start for row in rows if row.start is not None), default=None)
    return Wait(reason, text.replace(_JOB, jobs), len(rows), starts, stuck)
