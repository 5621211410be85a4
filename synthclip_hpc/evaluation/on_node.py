"""What the machine that makes a cell sees of the data: `submit` has looked at them on its own machine alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evals.errors import EvalError
from synthclip_hpc.config.eval import EvalConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.evaluation.cells import splits_of
from synthclip_hpc.evaluation.data_sets import Asked, asked_of, given_root
from synthclip_hpc.evaluation.facts import Facts, facts_of

_NEXT = (
    "`submit` has looked at the data on the machine where it ran. Keep them where all nodes see them, or leave this "
    "node out; then resume"
)


def folder_here(settings: EvalConfig, name: str) -> Path:
    """Return the folder of a planned data set; the others do not have to be there.

    Raises UserError, with the node and the folder, when this node does not see it.
    """
    with _on_this_node():
        # A folder whose name comes from a link has another one where the link is not seen.
        one = next((asked for asked in asked_of(settings) if asked.name == name), None)
        if one is None or not _is_seen(one, settings.root):
            raise UserError(f"{_unseen(settings, name, one)}. {_NEXT}")
        folder = one.found(settings.root).folder
        assert folder is not None, f"{name} is a built-in set"
        return folder


def facts_here(cell: Mapping[str, Any], folder: Path) -> Facts:
    """Look at the data of a planned cell. Raises UserError when they are damaged here, or not the planned ones."""
    with _on_this_node():
        found = facts_of(folder)
        sha256 = found.sha256(splits_of(cell["task"]))
        if cell["sha256"] not in (None, sha256):
            raise UserError(
                f"{folder}: {cell['dataset']} has changed since the evaluation was planned (planned {cell['sha256']}, "
                f"found {sha256}); restore it, or evaluate in a new run"
            )
        return found


@contextmanager
def _on_this_node() -> Iterator[None]:
    try:
        yield
    except (EvalError, UserError) as error:
        raise UserError(f"on node {os.uname().nodename}: {error}") from error


def _is_seen(one: Asked, root: str | None) -> bool:
    if one.info is None:
        return one.path is not None and one.path.is_dir()
    given = given_root(root)
    return given is not None and one.info.find(given) is not None


def _unseen(settings: EvalConfig, name: str, one: Asked | None) -> str:
    if one is not None and one.path is not None:
        return f"the folder {one.path} of {name} is not to be seen from here"
    given = given_root(settings.root)
    if given is None:
        return f"{name} is looked for in a folder of data sets, and neither eval.root nor its variable is set here"
    if not Path(given).expanduser().is_dir():
        return f"eval.root={given}, which has {name}, is not to be seen from here"
    return f"eval.root={given} is to be seen from here, but no {name} in it"
