"""What is wrong with a lab and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from slurm.onemachine import packages, processes
from slurm.onemachine.client import NODE_STATES_READY, node_reasons, node_states
from slurm.onemachine.directory import is_lab_directory
from slurm.onemachine.lab import CORE_DAEMONS, Lab, LabError, read_record

COMMAND = "python -m slurm.onemachine"


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    good: bool
    text: str
    remedy: str = ""
    """What to do; empty when good."""


def examine(directory: Path) -> list[Finding]:
    """Look at programs, daemons and nodes, in the order in which they need one another. Changes nothing."""
    missing = packages.missing_programs()
    if missing:
        return [Finding(False, f"programs missing: {', '.join(missing)}", packages.install_advice(missing))]
    findings = [Finding(True, "all programs are installed")]
    option = f" --dir {quote(str(directory))}"
    if not is_lab_directory(directory):
        return [*findings, Finding(False, f"no lab in {directory}", f"{COMMAND} up{option}")]
    lab = read_record(directory)
    if lab is None:
        return [*findings, Finding(False, f"an unfinished start lies in {directory}", f"{COMMAND} up{option}")]
    if all(processes.recorded(directory, name) is None for name in CORE_DAEMONS):
        text = f"the lab in {directory} is not running: it crashed, or was stopped with --keep"
        remedy = f"{COMMAND} up{option} (a new lab) or {COMMAND} up --keep{option} (its queue and accounting go on)"
        return [*findings, Finding(False, text, remedy)]
    restart = f"{COMMAND} down{option} && {COMMAND} up{option}"
    findings += [_daemon(lab, name, restart) for name in CORE_DAEMONS]
    if not lab.is_running():
        return findings
    slurmds = {node: processes.recorded(directory, f"slurmd.{node}") is not None for node in lab.node_names}
    return [*findings, *_nodes(lab, slurmds, restart, option)]


def _daemon(lab: Lab, name: str, restart: str) -> Finding:
    process = processes.recorded(lab.directory, name)
    if process is None:
        return Finding(False, f"{name} is dead; its log: {lab.directory / 'log' / f'{name}.log'}", restart)
    return Finding(True, f"{name} is alive (pid {process.pid})")


def _nodes(lab: Lab, slurmds: dict[str, bool], restart: str, option: str) -> list[Finding]:
    try:
        states = node_states(lab)
        reasons = node_reasons(lab)
    except LabError as error:
        return [Finding(False, f"the controller does not answer: {error}", restart)]
    findings = []
    for node in lab.node_names:
        state = states.get(node, "unknown")
        if not slurmds[node]:
            findings.append(Finding(False, f"{node}: {state}; its slurmd is dead", f"{COMMAND} doctor --fix{option}"))
        elif state in NODE_STATES_READY:
            findings.append(Finding(True, f"{node}: {state}"))
        elif state.endswith("*"):
            log = lab.directory / "log" / f"slurmd.{node}.log"
            findings.append(Finding(False, f"{node}: {state}", f"no contact yet: look again soon; its log: {log}"))
        else:
            line = f"SLURM_CONF={quote(str(lab.conf))} scontrol update nodename={node} state=resume"
            findings.append(Finding(False, f"{node}: {state} ({reasons.get(node, 'no reason given')})", line))
    return findings
