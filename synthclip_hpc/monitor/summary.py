"""A run in one line."""

from __future__ import annotations

from collections.abc import Iterable

from synthclip_hpc.errors import UserError
from synthclip_hpc.launch.environment import environment_of
from synthclip_hpc.monitor.watcher import Watcher
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import all_submissions

PATIENCE_S = 2.0
_OPEN = ("failed", "blocked", "running", "pending", "partial", "waiting")


def run_in_a_line(run: Run) -> str:
    """Look at a run and return how it is: what runs or stands, and what needs the user."""
    try:
        slurm = [one.environment for one in all_submissions(run) if one.cluster == "slurm"]
        with environment_of(slurm[-1] if slurm else {}):  # its own cluster, whatever the shell points to
            snapshot = Watcher(run, patience_s=PATIENCE_S).look()
    except UserError as error:
        return f"cannot be read: {error}"
    done = [stage for stage in snapshot.stages if stage.state == "done"]
    parts = [f"{stage.name} {stage.state} {_share(stage.shards_done, stage.shards_total)}" for stage in snapshot.stages
             if stage.state in _OPEN and (stage.shards_done or stage.state in ("failed", "running"))]  # fmt: skip
    parts = [f"{len(done)} of {len(snapshot.stages)} stages done", *parts]
    if snapshot.alarms:
        parts.append(f"{_number(len(snapshot.alarms), 'alarm')}: {snapshot.alarms[0].text}")
    return ("alive: " if snapshot.alive else "") + "; ".join(parts)


def _share(done: int, total: int) -> str:
    return f"{100 * done // total} %" if total else ""


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def lines_of(runs: Iterable[Run]) -> list[str]:
    """Return a line for each run, its path first."""
    return [f"{run.path}  {run_in_a_line(run)}" for run in runs]
