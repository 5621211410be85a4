"""Bring a lab up: the one list of daemons, in the order in which they need one another."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from slurm.onemachine import configuration, packages, processes
from slurm.onemachine.directory import SUBDIRECTORIES, claim, wipe
from slurm.onemachine.lab import Lab, LabError, LabUsageError, checked_directory, find, new_lab, write_record
from slurm.onemachine.processes import Process
from slurm.onemachine.stop import kill_everything

NODE_STATES_READY = frozenset({"idle", "mixed", "allocated", "completing"})
_LOG_TAIL_LINES = 15


def up(
    directory: Path | None = None,
    nodes: int = 4,
    cpus: int = 8,
    gpus: int = 4,
    *,
    grace_s: int = 10,
    memory_mb: int = 32000,
    kill_wait_s: int = 5,
    slurmd_timeout_s: int = 30,
    max_array_size: int = 1001,
    keep: bool = False,
    timeout_s: float = 60.0,
    say: Callable[[str], None] = lambda line: None,
) -> Lab:
    """Start a cluster and return when every node takes jobs; a lab that already runs in `directory` is returned as it is.

    What a crashed lab left in `directory` is stopped and removed first. `keep` starts from its files instead: the queue and
    the accounting database go on where they stopped. A start that fails stops what it had started.

    Args:
        directory: holds everything; default one per user, see `default_directory`.
        nodes, cpus, gpus, memory_mb: how many slurmd, and what each claims to have.
        grace_s: GraceTime of the partition `low-grace`.
        kill_wait_s: seconds between SIGTERM and SIGKILL.
        slurmd_timeout_s: seconds without contact until a node is down.
        max_array_size: Slurm's MaxArraySize.
        timeout_s: limit for each daemon to become ready, and for all nodes together.
        say: receives one line per step.

    Raises:
        LabUsageError: a number or path that cannot work, or a directory which is somebody else's.
        LabError: programs are missing, or a daemon did not start; the message ends with its log.
    """
    shape = {
        "nodes": nodes,
        "cpus": cpus,
        "gpus": gpus,
        "memory_mb": memory_mb,
        "grace_s": grace_s,
        "kill_wait_s": kill_wait_s,
        "slurmd_timeout_s": slurmd_timeout_s,
        "max_array_size": max_array_size,
    }
    missing = packages.missing_programs()
    if missing:
        raise LabError(packages.install_advice(missing))
    path = checked_directory(directory, nodes)
    with claim(path):
        running = find(path)
        if running is not None:
            return running
        if kill_everything(path):
            say("stopped what a crashed lab had left running")
        if not keep:
            wipe(path)
        lab = new_lab(path, shape)
        try:
            _start_all(lab, timeout_s, say)
        except BaseException:
            kill_everything(path)
            raise
        write_record(lab)
        return lab


def start_slurmd(lab: Lab, node: str, timeout_s: float = 30.0) -> None:
    """Start the slurmd of `node` (again) and wait until it is alive.

    Raises:
        LabUsageError: no such node.
        LabError: it ended at once; the message ends with its log.
    """
    if node not in lab.node_names:
        raise LabUsageError(f"node: got {node!r}; valid are {', '.join(lab.node_names)}")
    name = f"slurmd.{node}"
    if processes.recorded(lab.directory, name) is not None:
        return
    (lab.directory / "spool" / node).mkdir(exist_ok=True)
    process = _start(lab, name, "slurmd", "-D", "-f", str(lab.conf), "-N", node)
    port = lab.node_port(node)
    _await(lab, name, process, lambda: _listens(port), timeout_s)


def client(lab: Lab, *argv: str, timeout_s: float = 10.0) -> str:
    """Run a Slurm command against the lab and return what it printed.

    Raises:
        LabError: not installed, hung, or failed; with the command's own words.
    """
    program = packages.program(argv[0])
    if program is None:
        raise LabError(packages.install_advice([argv[0]]))
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            env=daemon_environment(lab),
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
    lines = client(lab, "sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").splitlines()
    return dict(line.split(maxsplit=1) for line in lines)


def daemon_environment(lab: Lab) -> dict[str, str]:
    """This process's environment without what a surrounding Slurm job or database client has put there."""
    foreign = (
        "SLURM",
        "SBATCH_",
        "SRUN_",
        "SALLOC_",
        "SACCT",
        "SQUEUE_",
        "SINFO_",
        "SCONTROL_",
        "SCANCEL_",
        "MYSQL",
        "MARIADB",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PATH": packages.search_path(), "LC_ALL": "C", **lab.environment()}


def _start_all(lab: Lab, timeout_s: float, say: Callable[[str], None]) -> None:
    _write_files(lab)
    directory = lab.directory
    munged = _start_munged(lab)
    _install_database(lab)
    mariadbd = _start_mariadbd(lab)
    _await(lab, "munged", munged, lambda: _connects(lab.munge_socket), timeout_s)
    _await(lab, "mariadbd", mariadbd, lambda: _connects(directory / "mysql" / "s"), timeout_s)
    say("munged and mariadbd are up")
    # libmariadb takes the socket of StorageHost=localhost from MYSQL_UNIX_PORT; slurmdbd.conf has no key for it.
    database = {"MYSQL_UNIX_PORT": str(directory / "mysql" / "s")}
    slurmdbd = _start(lab, "slurmdbd", "slurmdbd", "-D", extra=database)
    _await(lab, "slurmdbd", slurmdbd, lambda: _listens(lab.accounting_port), timeout_s)
    _register_cluster(lab)
    say("slurmdbd is up")
    slurmctld = _start(lab, "slurmctld", "slurmctld", "-D", "-f", str(lab.conf))
    _await(lab, "slurmctld", slurmctld, lambda: _listens(lab.controller_port), timeout_s)
    for node in lab.node_names:
        start_slurmd(lab, node, timeout_s)
    say(f"slurmctld and {lab.nodes} slurmd are up")
    if not processes.wait_until(lambda: _all_ready(lab), timeout_s, poll_s=0.1):
        raise LabError(
            f"nodes not ready after {timeout_s:g} s: {node_states(lab)}\n{log_tail(lab.directory, 'slurmctld')}"
        )
    say("all nodes are ready")


def _write_files(lab: Lab) -> None:
    for name in SUBDIRECTORIES:
        (lab.directory / name).mkdir(mode=0o700, exist_ok=True)
    for path, text in configuration.files(lab).items():
        processes.write_atomically(path, text)
    for device in configuration.gpu_devices(lab):
        if not device.is_symlink():
            device.symlink_to("/dev/null")
    key = lab.directory / "munge" / "key"
    if not key.exists():
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(128))


def _start_munged(lab: Lab) -> Process:
    munge = lab.directory / "munge"
    # --force: munged wants its directories to be root's or its own all the way up, which /tmp is not.
    return _start(
        lab,
        "munged",
        "munged",
        "--foreground",
        "--force",
        f"--key-file={munge / 'key'}",
        f"--socket={lab.munge_socket}",
        f"--pid-file={munge / 'pid'}",
        f"--log-file={lab.directory / 'log' / 'munged.log'}",
        f"--seed-file={munge / 'seed'}",
        "--num-threads=4",
    )


def _install_database(lab: Lab) -> None:
    mysql = lab.directory / "mysql"
    complete = mysql / "installed"
    if complete.exists():
        return
    # A start that was killed in the middle of this leaves a data directory that mariadbd would refuse.
    shutil.rmtree(mysql / "data", ignore_errors=True)
    output = client(
        lab,
        "mariadb-install-db",
        "--no-defaults",
        f"--user={lab.user}",
        f"--datadir={mysql / 'data'}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        timeout_s=120.0,
    )
    (lab.directory / "log" / "mariadb-install.log").write_text(output)
    complete.touch()


def _start_mariadbd(lab: Lab) -> Process:
    mysql = lab.directory / "mysql"
    (mysql / "tmp").mkdir(exist_ok=True)
    return _start(
        lab,
        "mariadbd",
        "mariadbd",
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
        # The lab's records need not survive a power cut, and a commit that waits for the disk costs most of the start.
        "--innodb-flush-log-at-trx-commit=0",
    )


def _register_cluster(lab: Lab) -> None:
    if client(lab, "sacctmgr", "-n", "-P", "list", "user", lab.user, "format=user").strip():
        return
    for entity in (
        ("cluster", configuration.CLUSTER),
        ("account", configuration.CLUSTER, f"Cluster={configuration.CLUSTER}"),
        ("user", lab.user, f"Account={configuration.CLUSTER}"),
    ):
        try:
            client(lab, "sacctmgr", "-i", "add", *entity)
        except LabError as error:
            # slurmdbd makes the account and user "root" by itself; a kept database has all three.
            if "already exist" not in str(error).lower() and "nothing new added" not in str(error).lower():
                raise


def _all_ready(lab: Lab) -> bool:
    try:
        states = node_states(lab)
    except LabError:
        # The controller answers with an error until it has read its state.
        return False
    return len(states) == lab.nodes and set(states.values()) <= NODE_STATES_READY


def _start(lab: Lab, name: str, program: str, *arguments: str, extra: Mapping[str, str] | None = None) -> Process:
    path = packages.program(program)
    if path is None:
        raise LabError(packages.install_advice([program]))
    return processes.start_daemon(lab.directory, name, [path, *arguments], {**daemon_environment(lab), **(extra or {})})


def _await(lab: Lab, name: str, process: Process, ready: Callable[[], bool], timeout_s: float) -> None:
    def settled() -> bool:
        return ready() or not process.is_alive()

    in_time = processes.wait_until(settled, timeout_s)
    if not process.is_alive():
        raise LabError(f"{name} ended while it was starting\n{log_tail(lab.directory, name)}")
    if not in_time:
        raise LabError(f"{name} was not ready after {timeout_s:g} s\n{log_tail(lab.directory, name)}")


def log_tail(directory: Path, name: str) -> str:
    """The last lines of a daemon's log and of what it printed, each under its path; `up`'s failure message ends with it."""
    parts = []
    for path in (directory / "log" / f"{name}.log", directory / "log" / f"{name}.out"):
        if path.exists() and path.stat().st_size:
            lines = path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
            parts.append("\n".join([f"--- {path}", *lines]))
    return "\n".join(parts)


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(("127.0.0.1", port))
        except OSError:
            return False
    return True
