"""Which of the machine's processes belong to a lab, those included that no pid file names.

Some of Slurm's own processes overwrite their environment with their title, so daemons are known by where they work:
their working directory or log is in the lab. Job processes are known by the environment that slurmd gave them, and by
descent: one that scrubbed its environment is still a child of its slurmstepd.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from slurm.onemachine import processes
from slurm.onemachine.processes import Process, Status

_DAEMON_COMMANDS = frozenset({"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmscriptd", "slurmd", "slurmstepd"})


def lab_processes(directory: Path) -> set[Process]:
    """Every daemon and job process of the lab in `directory`, except for this process and those it descends from."""
    table = processes.process_table()
    daemons = {pid for pid, status in table.items() if _is_daemon(status, directory)}
    steps = {pid for pid in daemons if table[pid].command == "slurmstepd"}
    jobs = {pid for pid in table if _is_job(pid, directory, node=None)}
    named = (processes.recorded(directory, name) for name in processes.recorded_names(directory))
    members = {table[pid].process for pid in daemons | _with_descendants(steps | jobs, table)}
    members |= {process for process in named if process is not None}
    return {process for process in members if process.pid not in _lineage(table)}


def node_processes(directory: Path, node: str) -> set[Process]:
    """Every slurmstepd and job process of one node, without its slurmd."""
    table = processes.process_table()
    log = str(directory / "log" / f"slurmd.{node}.log")
    steps = {
        pid for pid, status in table.items() if status.command == "slurmstepd" and log in _open_paths(pid, ("fd",))
    }
    jobs = {pid for pid in table if _is_job(pid, directory, node)}
    members = _with_descendants(steps | jobs, table)
    return {table[pid].process for pid in members - _lineage(table)}


def _is_daemon(status: Status, directory: Path) -> bool:
    if status.command not in _DAEMON_COMMANDS:
        return False
    prefix = f"{directory}/"
    return any(path.startswith(prefix) for path in _open_paths(status.process.pid, ("cwd", "fd")))


def _is_job(pid: int, directory: Path, node: str | None) -> bool:
    # Not SLURM_CONF alone, which a user's shell has from `env`, nor a job id, which a shell under salloc has too.
    environment = processes.initial_environment(pid)
    found = environment.get("SLURMD_NODENAME")
    if environment.get("SLURM_CONF") != str(directory / "etc" / "slurm.conf") or found is None:
        return False
    return node is None or found == node


def _open_paths(pid: int, entries: tuple[str, ...]) -> set[str]:
    paths = set()
    for entry in entries:
        place = Path(f"/proc/{pid}/{entry}")
        try:
            links = list(place.iterdir()) if entry == "fd" else [place]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        for link in links:
            try:
                paths.add(os.readlink(link))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return paths


def _with_descendants(pids: set[int], table: Mapping[int, Status]) -> set[int]:
    found = set(pids)
    grown = True
    while grown:
        children = {pid for pid, status in table.items() if status.parent_pid in found} - found
        found |= children
        grown = bool(children)
    return found


def _lineage(table: Mapping[int, Status]) -> set[int]:
    lineage: set[int] = set()
    pid = os.getpid()
    while pid in table and pid not in lineage:
        lineage.add(pid)
        pid = table[pid].parent_pid
    return lineage
