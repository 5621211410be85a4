"""The command line: `python -m slurm.onemachine up|down|env|doctor`.

Exit codes: 0 done, or it was so already; 1 something failed or is unwell; 2 the command cannot be carried out as given.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from slurm.onemachine import faults, packages, processes
from slurm.onemachine.client import NODE_STATES_READY, node_states
from slurm.onemachine.doctor import COMMAND, examine
from slurm.onemachine.lab import Lab, LabError, LabUsageError, checked_directory, default_directory, find
from slurm.onemachine.start import up
from slurm.onemachine.stop import down


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except LabUsageError as error:
        print(error, file=sys.stderr)
        return 2
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has seen enough (`doctor | head`). Without this Python complains again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _up(arguments: argparse.Namespace) -> int:
    missing = packages.missing_programs()
    if missing:
        print(packages.install_advice(missing), file=sys.stderr)
        return 2
    running = find(checked_directory(arguments.dir))
    if running is not None:
        print(f"already running: {_description(running)}; to change it, first: {_command('down', running.directory)}")
        return 0
    lab = up(
        arguments.dir,
        arguments.nodes,
        arguments.cpus,
        arguments.gpus,
        grace_s=arguments.grace,
        keep=arguments.keep,
        say=lambda line: print(line, flush=True),
    )
    print(f"running: {_description(lab)}")
    print(f'use it:  eval "$({_command("env", lab.directory)})"')
    print(f"stop it: {_command('down', lab.directory)}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    directory = checked_directory(arguments.dir)
    if not down(directory, keep=arguments.keep):
        print(f"no lab in {directory}")
    elif arguments.keep:
        print(f"stopped; queue and accounting are kept in {directory}; go on with: {_command('up --keep', directory)}")
    else:
        print(f"stopped, and removed from {directory}")
    return 0


def _env(arguments: argparse.Namespace) -> int:
    directory = checked_directory(arguments.dir)
    lab = find(directory)
    if lab is None:
        print(f"no lab runs in {directory}; start one with: {_command('up', directory)}", file=sys.stderr)
        return 2
    for name, value in lab.environment().items():
        print(f"export {name}={quote(value)}")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    directory = checked_directory(arguments.dir)
    lab = find(directory)
    if arguments.fix and lab is not None:
        for node in lab.node_names:
            faults.start_slurmd(lab, node)
        resumed = faults.resume_nodes(lab)
        print(f"resumed: {', '.join(resumed) or 'no node needed it'}")
        # A node just resumed counts as not responding until its slurmd has registered again.
        processes.wait_until(lambda: NODE_STATES_READY.issuperset(node_states(lab).values()), 10.0, poll_s=0.2)
    findings = examine(directory)
    for finding in findings:
        print(f"{'ok ' if finding.good else 'BAD'} {finding.text}")
        if finding.remedy:
            print(f"    -> {finding.remedy}")
    return 0 if all(finding.good for finding in findings) else 1


def _description(lab: Lab) -> str:
    return f"{lab.nodes} nodes of {lab.cpus} CPUs and {lab.gpus} fake GPUs in {lab.directory}"


def _command(name: str, directory: Path) -> str:
    option = "" if directory == default_directory() else f" --dir {quote(str(directory))}"
    return f"{COMMAND} {name}{option}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description="A real Slurm cluster on this machine, for this user.")
    commands = parser.add_subparsers(required=True, metavar="up|down|env|doctor")

    start = commands.add_parser("up", help="start the lab")
    start.add_argument("--nodes", type=int, default=4, help="number of nodes (default 4)")
    start.add_argument("--cpus", type=int, default=8, help="CPUs that each node claims to have (default 8)")
    start.add_argument("--gpus", type=int, default=4, help="fake GPUs per node (default 4)")
    start.add_argument("--grace", type=int, default=10, metavar="SECONDS", help="GraceTime of low-grace (default 10)")
    start.add_argument("--keep", action="store_true", help="go on with what `down --keep` left")
    start.set_defaults(command=_up)

    stop = commands.add_parser("down", help="stop the lab, kill its jobs, remove its files")
    stop.add_argument("--keep", action="store_true", help="keep queue and accounting for `up --keep`")
    stop.set_defaults(command=_down)

    env = commands.add_parser("env", help="print what a shell needs to talk to the lab")
    env.set_defaults(command=_env)

    doctor = commands.add_parser("doctor", help="say what is wrong and what mends it")
    doctor.add_argument("--fix", action="store_true", help="start dead slurmds and resume drained or down nodes first")
    doctor.set_defaults(command=_doctor)

    for command in (start, stop, env, doctor):
        command.add_argument("--dir", type=Path, help=f"the lab's directory (default {default_directory()})")
    return parser
