"""Lists of nodes as Slurm writes them: `n1,n[4-7]`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slurm.commands import run_command
from synthclip_hpc.errors import UserError

_RANGES = r"[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*"
_NODE = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9._-]|\[{_RANGES}\])*")

_RANGE = re.compile(r"\[([^\]]*)\]")
_MOST = 10_000
"""Of a longer range only the beginning is looked at."""
_SHOWN = 12
_TIMEOUT_S = 10


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


def check_nodes(key: str, nodes: str) -> None:
    """Refuse names that no node of the cluster has, as sbatch would; where sinfo does not tell, sbatch will.

    `nodes` is what `parse_nodes` returned. Raises UserError, naming `key` and the nodes that there are.
    """
    answer = run_command(["sinfo", "-a", "-h", "-N", "-o", "%N"], _TIMEOUT_S)
    known = list(dict.fromkeys(answer.stdout.split()))
    if answer.error is not None or not known:
        return
    wanted = [name for one in re.split(r",(?![^\[\]]*\])", nodes) for name in _expanded(one)]
    unknown = [name for name in wanted if name not in set(known)]
    if unknown:
        more = f" and {len(known) - _SHOWN:,} more (see sinfo -N)" if len(known) > _SHOWN else ""
        raise UserError(f"{key}={nodes}: no node {_few(unknown)} here; there are: {', '.join(known[:_SHOWN])}{more}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _expanded(node: str) -> Iterator[str]:
    """Write a name's first range out, then those behind it: `n[08-10]` is n08, n09, n10."""
    found = _RANGE.search(node)
    if found is None:
        yield node
        return
    for part in found[1].split(","):
        first, _, last = part.partition("-")
        numbers = range(int(first), int(last or first) + 1)
        for number in numbers[:_MOST]:
            yield from _expanded(f"{node[: found.start()]}{number:0{len(first)}d}{node[found.end() :]}")
