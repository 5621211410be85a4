"""What one lab is: a directory, a shape, and ports. Everything else is a function of these."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from slurm.onemachine import processes

CORE_DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld")
MAX_SOCKET_PATH = 107
"""Bytes in `sockaddr_un.sun_path`, less the closing zero."""
_SAFE_DIRECTORY = re.compile(r"/[A-Za-z0-9._/+@-]*")
_FIRST_PORT, _LAST_PORT = 17000, 30000
"""Below Linux's default range for outgoing connections: one of those could take a port between choice and use."""


class LabError(RuntimeError):
    """The lab could not be started, stopped or asked; the message says what failed and where its log lies."""


class LabUsageError(LabError, ValueError):
    """The caller's mistake: the message names the argument, the value got and what is valid."""


@dataclass(frozen=True)
class Lab:
    """One cluster on this machine. Equal values give byte-equal configuration files."""

    directory: Path
    """Holds everything the lab writes; mode 700, owned by the user who runs it."""
    nodes: int = 4
    """Number of slurmd, named n1, n2, …"""
    cpus: int = 8
    """CPUs that each node claims to have; may exceed the machine's own."""
    gpus: int = 4
    """Fake GPUs per node: schedulable, visible in CUDA_VISIBLE_DEVICES, nothing behind them."""
    memory_mb: int = 32000
    """Memory that each node claims to have."""
    grace_s: int = 10
    """GraceTime of the partition `low-grace`."""
    kill_wait_s: int = 5
    """Seconds between SIGTERM and SIGKILL."""
    slurmd_timeout_s: int = 30
    """Seconds without contact after which a node is down and its jobs are requeued."""
    max_array_size: int = 1001
    """Slurm's MaxArraySize: one more than the highest array index."""
    base_port: int = _FIRST_PORT
    """First of the TCP ports taken; see `ports`."""
    hostname: str = "localhost"
    """This machine's short name; Slurm compares it with its own idea of it."""
    user: str = "root"
    """Runs every daemon and every job."""
    loopback_only: bool = False
    """Whether the host name resolves to loopback, so that Slurm can be told to listen nowhere else."""

    @property
    def conf(self) -> Path:
        """slurm.conf: the one path from which every Slurm command finds this lab."""
        return self.directory / "etc" / "slurm.conf"

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    @property
    def munge_socket(self) -> Path:
        return self.directory / "munge" / "s"

    @property
    def controller_port(self) -> int:
        return self.base_port

    @property
    def accounting_port(self) -> int:
        return self.base_port + 1

    def node_port(self, node: str) -> int:
        return self.base_port + 2 + self.node_names.index(node)

    @property
    def num_ports(self) -> int:
        return 2 + self.nodes

    def environment(self) -> dict[str, str]:
        """What a Slurm command needs in its environment to talk to this lab."""
        return {"SLURM_CONF": str(self.conf)}

    def is_running(self) -> bool:
        """Whether munged, mariadbd, slurmdbd and slurmctld live. Nodes may be down: losing some is part of a drill."""
        return all(processes.recorded(self.directory, name) is not None for name in CORE_DAEMONS)


def default_directory() -> Path:
    """One lab per user, where it is found again from any shell. /tmp and not $TMPDIR: socket paths must be short."""
    return Path(f"/tmp/slurm-onemachine-{os.geteuid()}")


def find(directory: Path | None = None) -> Lab | None:
    """The running lab in `directory`; None when there is none or only a dead one's files.

    Without a directory: the lab that SLURM_CONF names, as after `env --dir`, if it runs, else the user's own.
    """
    if directory is not None:
        return _running(checked_directory(directory))
    return _of_shell() or _running(checked_directory(None))


def _of_shell() -> Lab | None:
    conf = os.environ.get("SLURM_CONF")
    if not conf:
        return None
    path = Path(os.path.realpath(conf))
    lab = _running(path.parent.parent)
    return lab if lab is not None and lab.conf == path else None


def _running(directory: Path) -> Lab | None:
    lab = read_record(directory)
    return lab if lab is not None and lab.is_running() else None


def new_lab(directory: Path | None, shape: dict[str, int]) -> Lab:
    """A lab of this shape (`Lab`'s fields by name) for this machine and user, with free ports. Starts nothing.

    Raises:
        LabUsageError: a number out of range, or a directory whose path is too long or odd.
    """
    check_shape(shape)
    path = checked_directory(directory, nodes=shape["nodes"])
    hostname = socket.gethostname().split(".")[0]
    return Lab(
        directory=path,
        **shape,
        base_port=free_base_port(path, 2 + shape["nodes"]),
        hostname=hostname,
        user=_account_name(),
        loopback_only=_is_loopback(hostname),
    )


def checked_directory(directory: Path | None, nodes: int = 1) -> Path:
    """`directory` made absolute, links resolved, checked for what Slurm's files and Unix sockets can bear.

    Raises:
        LabUsageError: naming the path, its length and the longest valid one.
    """
    path = Path(os.path.realpath(directory if directory is not None else default_directory()))
    if not _SAFE_DIRECTORY.fullmatch(str(path)):
        raise LabUsageError(
            f"dir: {str(path)!r} has characters that Slurm's configuration files cannot hold; "
            "valid are letters, digits and . _ / + @ - : choose another with --dir"
        )
    # The longest socket is slurmstepd's: spool directory / node _ job . step, each number at its longest.
    suffix = len(f"/spool/n{nodes}/n{nodes}_67108863.4294967295")
    length = len(os.fsencode(path))
    if length + suffix > MAX_SOCKET_PATH:
        raise LabUsageError(
            f"dir: {str(path)!r} is {length} bytes long; a Unix socket path holds {MAX_SOCKET_PATH} bytes and "
            f"the lab's longest adds {suffix}, so at most {MAX_SOCKET_PATH - suffix} are valid: choose another --dir"
        )
    return path


def record_path(directory: Path) -> Path:
    """Where the lab in `directory` records its shape and ports."""
    return directory / "lab.json"


def write_record(lab: Lab) -> None:
    """Written last by `up`: its presence says that the lab once ran in full."""
    values = {**dataclasses.asdict(lab), "directory": str(lab.directory)}
    processes.write_atomically(record_path(lab.directory), json.dumps(values, indent=1) + "\n")


def read_record(directory: Path) -> Lab | None:
    """The lab once recorded in `directory`, alive or not; None when there is no record that can be read.

    Another user's record is none: commands would load the plugins that its slurm.conf names, with this user's rights.
    """
    try:
        if directory.stat().st_uid != os.geteuid():
            return None
        values = json.loads(record_path(directory).read_text())
        return Lab(**{**values, "directory": directory})
    except (OSError, ValueError, TypeError):
        return None


def free_base_port(directory: Path, count: int) -> int:
    """First of `count` neighbouring free TCP ports.

    The search starts at a place derived from `directory`: two labs which start at the same moment look elsewhere.

    Raises:
        LabError: nothing is free in the whole range.
    """
    for base in _candidates(directory, count):
        if all(_is_free(port) for port in range(base, base + count)):
            return base
    raise LabError(f"no {count} neighbouring TCP ports are free between {_FIRST_PORT} and {_LAST_PORT}")


def _candidates(directory: Path, count: int) -> Iterator[int]:
    slots = (_LAST_PORT - _FIRST_PORT) // count
    first = crc32(os.fsencode(directory)) % slots
    for step in range(slots):
        yield _FIRST_PORT + (first + step) % slots * count


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the daemons do; without it the connections of a lab just stopped (TIME_WAIT) would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _is_loopback(hostname: str) -> bool:
    # Slurm binds to whatever its own name resolves to: only 127.0.0.1 is also where the lab's clients look.
    try:
        return {info[4][0] for info in socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)} == {"127.0.0.1"}
    except OSError:
        return False


def _account_name() -> str:
    # Not getpass.getuser(), which believes $USER: after `sudo` or `setpriv` that names somebody else.
    return pwd.getpwuid(os.geteuid()).pw_name


def check_shape(shape: dict[str, int]) -> None:
    """Refuse a number that no lab can have.

    Raises:
        LabUsageError: naming the field, the value and the valid range.
    """
    valid = {
        "nodes": (1, 64),
        "cpus": (1, 1024),
        "gpus": (0, 64),
        "memory_mb": (100, 10**9),
        "grace_s": (0, 86400),
        "kill_wait_s": (1, 3600),
        "slurmd_timeout_s": (5, 65533),
        "max_array_size": (2, 4000001),
    }
    for name, value in shape.items():
        low, high = valid[name]
        if not low <= value <= high:
            raise LabUsageError(f"{name}: got {value}; valid is {low} to {high}")
