"""Ask a lab's Slurm through its own commands, with a time limit on every question."""

from __future__ import annotations

import os
import subprocess

from slurm.onemachine import packages
from slurm.onemachine.lab import Lab, LabError

NODE_STATES_READY = frozenset({"idle", "mixed", "allocated", "completing"})
_FOREIGN = ("SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SACCT", "SQUEUE_", "SINFO_", "SCONTROL_", "MYSQL", "MARIADB")


def ask(lab: Lab, *argv: str, timeout_s: float = 10.0) -> str:
    """Run a program of the lab and return what it printed.

    Raises:
        LabError: not installed, hung, or failed; with the program's own words.
    """
    program = packages.program(argv[0])
    if program is None:
        raise LabError(packages.install_advice([argv[0]]))
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            env=clean_environment(lab),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(argv)}: no answer in {timeout_s:g} s") from error
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def node_states(lab: Lab) -> dict[str, str]:
    """State of each node as sinfo names it ("idle", "down*", "drained", …)."""
    return _node_column(lab, "%T")


def node_reasons(lab: Lab) -> dict[str, str]:
    """Why each node is out of service, as Slurm recorded it ("none" for a healthy one)."""
    return _node_column(lab, "%E")


def clean_environment(lab: Lab) -> dict[str, str]:
    """This process's environment without what a surrounding Slurm job or a database client has put there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, "PATH": packages.search_path(), "LC_ALL": "C", **lab.environment()}


def _node_column(lab: Lab, field: str) -> dict[str, str]:
    lines = ask(lab, "sinfo", "-h", "-N", "-p", "main", "-o", f"%N|{field}").splitlines()
    pairs = (line.partition("|") for line in lines)
    return {node: value for node, _, value in pairs}
