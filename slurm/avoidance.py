"""Keeping jobs that wait away from a node that one of them found unfit.

Left alone, such a node draws in one element of an array after the other: each ends at once, and the node is free again.
"""

from __future__ import annotations

import re

from .commands import run_command


def avoid_node(job_id: str, node: str, timeout_s: float = 10) -> str | None:
    """Exclude a node for those elements of an array (or the one job or element) that wait, besides what they exclude.

    Elements that run are left alone. Nothing is changed when no node of their partitions would be left for them, which
    Slurm would let wait for ever. Returns None when they avoid the node now, else why they do not, in Slurm's words or
    ours.
    """
    known = run_command(["squeue", "-h", "-j", job_id, "-o", "%P|%x"], timeout_s)
    if known.error is not None:
        return known.error
    rows = {line.strip() for line in known.stdout.splitlines() if "|" in line}
    if not rows:
        return f"{job_id} is not in the queue"
    partitions = {name for row in rows for name in row.partition("|")[0].split(",")}
    excluded = {text for row in rows if (text := row.partition("|")[2]) not in ("", "(null)")}
    avoided, error = _expand(",".join(sorted({*excluded, node})), timeout_s)
    for partition in sorted(partitions):
        if error is not None:
            return error
        nodes, error = _nodes_of(partition, timeout_s)
        if error is None and not nodes - avoided:
            return f"partition {partition} has no other node left"
    if error is not None:
        return error
    exclusion = f"ExcNodeList={','.join(sorted(avoided))}"
    answer = run_command(["scontrol", "update", f"JobId={job_id}", exclusion], timeout_s)
    # Of an array it tells each element's own answer: those that run refuse, those that wait have no error.
    return None if any(line.endswith(": No error") for line in answer.stderr.splitlines()) else answer.error


def _expand(text: str, timeout_s: float) -> tuple[set[str], str | None]:
    """Return the nodes that a list such as `n1,n[3-4]` means, and what went wrong."""
    answer = run_command(["scontrol", "show", "hostnames", text], timeout_s)
    return set(answer.stdout.split()), answer.error


def _nodes_of(partition: str, timeout_s: float) -> tuple[set[str], str | None]:
    answer = run_command(["scontrol", "-o", "show", "partition", partition], timeout_s)
    if answer.error is not None:
        return set(), answer.error
    found = re.search(r"(?:^|\s)Nodes=(\S+)", answer.stdout)
    if found is None or found[1] == "(null)":
        return set(), f"partition {partition} tells no nodes"
    return _expand(found[1], timeout_s)
