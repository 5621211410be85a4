"""A run in one line."""

from __future__ import annotations

from dataclasses import dataclass

from synthclip_hpc.errors import is_user_mistake
from synthclip_hpc.launch.environment import environment_of
from synthclip_hpc.monitor.short import percent_done
from synthclip_hpc.monitor.snapshot import Snapshot
from synthclip_hpc.monitor.watcher import Watcher
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import all_submissions

PATIENCE_S = 2.0
_OPEN = ("failed", "blocked", "running", "pending", "partial", "waiting")


@dataclass(frozen=True)
class RunLine:
    """How a run is."""

    text: str
    state: str
    """failed (it needs the user) | unreadable | running (something of it is alive) | done | partial (it stands)"""


def run_in_a_line(run: Run) -> RunLine | None:
    """Look at a run and return how it is: what runs or stands, and what needs the user; None where no run is any more.

    One that cannot be read is told as such, whatever the reason: it must not hide the others of a list.
    """
    try:
        run.config_path.stat()
        slurm = [one.environment for one in all_submissions(run) if one.cluster == "slurm"]
        with environment_of(slurm[-1] if slurm else {}):  # its own cluster, whatever the shell points to
            snapshot = Watcher(run, patience_s=PATIENCE_S).look()
    except (FileNotFoundError, NotADirectoryError) as error:
        if error.filename == str(run.config_path):
            return None
        return _unreadable(error)
    except OSError as error:
        return _unreadable(error)
    except ValueError as error:
        if not is_user_mistake(error):
            raise
        return RunLine(f"cannot be read: {error}", "unreadable")
    return RunLine(_told(snapshot), _state(snapshot))


def _unreadable(error: OSError) -> RunLine:
    where = f": {error.filename}" if error.filename is not None else ""
    return RunLine(f"cannot be read: {error.strerror or error}{where}", "unreadable")


def _told(snapshot: Snapshot) -> str:
    done = [stage for stage in snapshot.stages if stage.state == "done"]
    parts = [f"{len(done)} of {len(snapshot.stages)} stages done"]
    for stage in snapshot.stages:
        if stage.state in _OPEN and (stage.shards_done or stage.state in ("failed", "running")):
            share = f" {percent_done(stage)} %" if stage.shards_total else ""
            parts.append(f"{stage.name} {stage.state}{share}")
    first = ["alive"] if snapshot.alive else []
    if snapshot.alarms:  # told first, for where there is no room for all
        first.append(_number(len(snapshot.alarms), "alarm"))
        parts.append(snapshot.alarms[0].text)
    return (f"{', '.join(first)}: " if first else "") + "; ".join(parts)


def _state(snapshot: Snapshot) -> str:
    if snapshot.alarms:
        return "failed"
    if snapshot.alive:
        return "running"
    return "done" if snapshot.stages and all(stage.state == "done" for stage in snapshot.stages) else "partial"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
