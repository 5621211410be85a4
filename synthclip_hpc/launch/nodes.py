"""Lists of nodes as Slurm writes them: `n1,n[4-7]`."""

from __future__ import annotations

import re

from synthclip_hpc.errors import UserError

_RANGES = r"[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*"
_NODE = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9._-]|\[{_RANGES}\])*")


def parse_nodes(key: str, text: str | None) -> str | None:
    """Return a list of nodes without repetitions, as sbatch takes it; None for None.

    Raises UserError, naming `key`, for what is no list of host names.
    """
    if text is None:
        return None
    # A comma inside brackets belongs to a range of nodes.
    names = [name.strip() for name in re.split(r",(?![^\[\]]*\])", text)]
    for name in names:
        if not _NODE.fullmatch(name):
            raise UserError(f"{key}={text}: {name!r} is no node; name nodes as squeue does, e.g. {key}=n1,n[4-7]")
    return ",".join(dict.fromkeys(names))
