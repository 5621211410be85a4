"""How each daemon is started and how one knows that it serves."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from slurm.onemachine import configuration, packages, processes
from slurm.onemachine.client import ask, clean_environment
from slurm.onemachine.lab import Lab, LabError
from slurm.onemachine.processes import Process

_LOG_TAIL_LINES = 15


def start_munged(lab: Lab, timeout_s: float) -> None:
    """Start munged on the lab's own key and socket."""
    munge = lab.directory / "munge"
    arguments = [
        "--foreground",
        # munged wants every directory above its socket to be root's or its own, which /tmp is not.
        "--force",
        f"--key-file={munge / 'key'}",
        f"--socket={lab.munge_socket}",
        f"--pid-file={munge / 'pid'}",
        f"--log-file={lab.directory / 'log' / 'munged.log'}",
        f"--seed-file={munge / 'seed'}",
        "--num-threads=4",
    ]
    process = _start(lab, "munged", "munged", arguments)
    _await(lab, "munged", process, lambda: _answers(lab.munge_socket), timeout_s)


def start_mariadbd(lab: Lab, timeout_s: float) -> None:
    """Start mariadbd on a Unix socket alone, with a data directory that is made at the first start."""
    mysql = lab.directory / "mysql"
    (mysql / "tmp").mkdir(parents=True, exist_ok=True)
    _install_database(lab)
    arguments = [
        "--no-defaults",
        f"--user={lab.user}",
        f"--datadir={mysql / 'data'}",
        f"--tmpdir={mysql / 'tmp'}",
        f"--socket={mysql / 's'}",
        f"--pid-file={mysql / 'pid'}",
        f"--init-file={mysql / 'init.sql'}",
        f"--log-error={lab.directory / 'log' / 'mariadbd.log'}",
        "--skip-networking",
        "--skip-log-bin",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=32M",
        "--innodb-lock-wait-timeout=900",
        # The lab's records need not survive a power cut, and waiting for the disk costs most of the start.
        "--innodb-flush-log-at-trx-commit=0",
    ]
    process = _start(lab, "mariadbd", "mariadbd", arguments)
    _await(lab, "mariadbd", process, lambda: _answers(mysql / "s"), timeout_s)


def start_slurmdbd(lab: Lab, timeout_s: float) -> None:
    """Start slurmdbd and make the cluster and the user known to it."""
    # libmariadb takes the socket of StorageHost=localhost from here; slurmdbd.conf has no key for it.
    database = {"MYSQL_UNIX_PORT": str(lab.directory / "mysql" / "s")}
    process = _start(lab, "slurmdbd", "slurmdbd", ["-D"], database)
    _await(lab, "slurmdbd", process, lambda: _answers(lab.accounting_port), timeout_s)
    _register(lab, "cluster", configuration.CLUSTER)
    _register(lab, "account", configuration.CLUSTER, f"Cluster={configuration.CLUSTER}")
    _register(lab, "user", lab.user, f"Account={configuration.CLUSTER}")


def start_slurmctld(lab: Lab, timeout_s: float) -> None:
    """Start the controller."""
    process = _start(lab, "slurmctld", "slurmctld", ["-D", "-f", str(lab.conf)])
    _await(lab, "slurmctld", process, lambda: _answers(lab.controller_port), timeout_s)


def start_slurmds(lab: Lab, nodes: Sequence[str], timeout_s: float) -> None:
    """Start the slurmd of each of `nodes`, all at once; those that are alive are left alone."""
    started = {}
    for node in nodes:
        name = f"slurmd.{node}"
        if processes.recorded(lab.directory, name) is None:
            (lab.directory / "spool" / node).mkdir(exist_ok=True)
            arguments = ["-D", "-f", str(lab.conf), "-N", node]
            started[node] = _start(lab, name, "slurmd", arguments)
    for node, process in started.items():
        _await(lab, f"slurmd.{node}", process, partial(_answers, lab.node_port(node)), timeout_s)


def declare_down(lab: Lab, nodes: Sequence[str]) -> None:
    """Tell the controller that `nodes` have lost power, so that it requeues their jobs now.

    A machine takes longer to boot than SlurmdTimeout and is missed. A slurmd is back in a moment, and the controller
    would take its jobs, whose processes are gone, for running until it next compares notes: minutes later.
    """
    ask(lab, "scontrol", "update", f"nodename={','.join(nodes)}", "state=down", "reason=lost power")


def log_tail(directory: Path, name: str) -> str:
    """The last lines of a daemon's log and of what it printed, each under its path."""
    parts = []
    for path in (directory / "log" / f"{name}.log", directory / "log" / f"{name}.out"):
        if path.exists() and path.stat().st_size:
            lines = path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
            parts.append("\n".join([f"--- {path}", *lines]))
    return "\n".join(parts) or f"(nothing in {directory / 'log'} about {name})"


def _start(
    lab: Lab, name: str, program: str, arguments: Sequence[str], extra: Mapping[str, str] | None = None
) -> Process:
    path = packages.program(program)
    if path is None:
        raise LabError(packages.install_advice([program]))
    environment = {**clean_environment(lab), **(extra or {})}
    return processes.start_daemon(lab.directory, name, [path, *arguments], environment)


def _await(lab: Lab, name: str, process: Process, ready: Callable[[], bool], timeout_s: float) -> None:
    in_time = processes.wait_until(lambda: ready() or not process.is_alive(), timeout_s)
    # Alive is asked last: something else may be answering on the port that the daemon could not have.
    if not process.is_alive():
        raise LabError(f"{name} ended while it was starting\n{log_tail(lab.directory, name)}")
    if not in_time:
        raise LabError(f"{name} does not serve after {timeout_s:g} s\n{log_tail(lab.directory, name)}")


def _answers(address: Path | int) -> bool:
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(("127.0.0.1", address) if isinstance(address, int) else str(address))
        except OSError:
            return False
    return True


def _install_database(lab: Lab) -> None:
    mysql = lab.directory / "mysql"
    complete = mysql / "installed"
    if complete.exists():
        return
    # A start that was killed in the middle of this left a data directory that mariadbd would refuse.
    if (mysql / "data").exists():
        shutil.rmtree(mysql / "data")
    output = ask(
        lab,
        "mariadb-install-db",
        "--no-defaults",
        f"--user={lab.user}",
        f"--datadir={mysql / 'data'}",
        # A server that starts removes every unfinished table of its temporary directory: another lab's, were it /tmp.
        f"--tmpdir={mysql / 'tmp'}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        timeout_s=120.0,
    )
    (lab.directory / "log" / "mariadb-install.log").write_text(output)
    complete.touch()


def _register(lab: Lab, entity: str, name: str, *options: str) -> None:
    if ask(lab, "sacctmgr", "-n", "-P", "list", entity, name, f"format={entity}").strip():
        return
    ask(lab, "sacctmgr", "-i", "add", entity, name, *options)
