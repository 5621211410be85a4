"""What to do about a target that is larger than what can be had: the commands, ready to be typed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from synthclip_hpc.errors import GO_ON

if TYPE_CHECKING:
    from synthclip_hpc.run import Run


def ways_out(run: Run, usable: int, submission: str | None) -> str:
    """Return the commands that go on from a target above `usable`, the most captions that there are.

    Nothing was made by `select` then, so its plan can be replaced. `submission` is the name of the one that met the
    error: its cluster is named again, and where there is a queue what waits for the selection is taken out of it first.
    Later stages that were planned with that target are named too: their plans go with it, and their jobs are new ones.
    """
    from synthclip_hpc.stage_order import STAGES
    from synthclip_hpc.submissions import load_submission

    cluster = "auto" if submission is None else load_submission(run, submission).record["cluster_option"]
    at = f"run={shlex.quote(str(run.path))}"
    stages = ",".join(stage for stage in STAGES[STAGES.index("balance") :] if run.has_plans(stage))
    first = "" if cluster == "local" else f"python -m synthclip_hpc.cancel stage={stages} {at} && "
    command = f"{first}python -m synthclip_hpc.submit stage={stages} {at} cluster={cluster}"
    short = f"{command} balance.allow_short=true"
    if not usable:
        return f"{GO_ON} {short}"
    return f"{GO_ON} {command} balance.target={usable}\nor, with as many as there are: {short}"
