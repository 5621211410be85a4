"""Which programs a lab needs and which Debian packages bring them."""

from __future__ import annotations

import os
import shutil

DEBIAN_PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server")
_PROGRAMS = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "slurmstepd": "slurm-wlm",
    "sacctmgr": "slurm-wlm",
    "scontrol": "slurm-wlm",
    "sinfo": "slurm-wlm",
    "sbatch": "slurm-wlm",
    "srun": "slurm-wlm",
}
_SYSTEM_PATHS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian puts daemons; not on an ordinary user's PATH."""


def search_path() -> str:
    """PATH with the directories of daemons."""
    return f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATHS}"


def program(name: str) -> str | None:
    """Absolute path of a program of the lab, also from the daemons' directories; None when it is not installed."""
    return shutil.which(name, path=search_path())


def missing_programs() -> list[str]:
    """Names of the programs that a lab needs and this machine lacks; empty when `up` can work."""
    return [name for name in _PROGRAMS if program(name) is None]


def install_advice(missing: list[str]) -> str:
    """What to tell the user about `missing` programs: their packages and the line that installs them."""
    packages = [package for package in DEBIAN_PACKAGES if package in {_PROGRAMS[name] for name in missing}]
    return (
        f"not installed: {', '.join(missing)} (Debian packages: {' '.join(packages)})\n"
        f"install: apt-get update && apt-get install -y --no-install-recommends {' '.join(packages)}\n"
        "The lab runs daemons of its own; so that the packages' services do not start, run this before installing:\n"
        "  printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d"
    )
