"""The processes of a run, found from outside by their command lines: who is alive, and what is their parent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slurm.onemachine import processes
from slurm.onemachine.processes import Process, Status
from tests.chaos.product import RUN_OF


@dataclass(frozen=True)
class Worker:
    """A worker process that is alive."""

    process: Process
    attempt: str
    """`JOB_INDEX_RESTART`, as its journal is called."""
    element: str
    """`JOB_INDEX`, as Slurm calls it."""
    node: str
    parent_pid: int
    slurm_id: str = ""
    """What Slurm's commands take: a lone element is a plain job to them."""

    @property
    def restart(self) -> int:
        return int(self.attempt.rpartition("_")[2])

    @property
    def job(self) -> str:
        """The first word of the element's name."""
        return self.element.rpartition("_")[0]


def at_work(run: Path, event: str) -> set[str]:
    """The attempts, living or dead, whose journals hold an event of this kind."""
    journals = run.glob("*/*/journals/*.jsonl")
    return {path.stem for path in journals if f'"event": "{event}"' in path.read_text(encoding="utf-8")}


def run_processes(run: Path) -> list[Status]:
    """Every process with the run's path in its command line, this harness and the product's short commands aside."""
    found = []
    for pid, status in processes.process_table().items():
        words = command_line(pid)
        if any(str(run) in word for word in words) and not any(word in _COMMANDS for word in words):
            found.append(status)
    return found


def orphans(run: Path) -> list[Status]:
    """Every process of the run, also those that its command line does not betray: by what they inherited."""
    named = {status.process: status for status in run_processes(run)}
    for status in processes.process_table().values():
        words = command_line(status.process.pid)
        inherited = processes.initial_environment(status.process.pid).get(RUN_OF) == str(run)
        if inherited and words != [""] and not any(word in _COMMANDS for word in words):
            named[status.process] = status
    return list(named.values())


_COMMANDS = {f"synthclip_hpc.{verb}" for verb in ("submit", "resume", "status", "cancel", "verify")} | {"tests.chaos"}


def slurm_workers(run: Path) -> list[Worker]:
    """The workers of array elements that are alive, whatever Slurm thinks of them."""
    workers = []
    for status in run_processes(run):
        words = command_line(status.process.pid)
        if "submitit.core._submit" not in words:
            continue
        environment = processes.initial_environment(status.process.pid)
        # Only a step's task has SLURM_PROCID with SLURM_STEP_ID; srun and the batch script carry the words too.
        if "SLURM_STEP_ID" not in environment or not words[0].rpartition("/")[2].startswith("python"):
            continue
        job, index = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
        slurm_id = f"{job}_{index}"
        if job is None or index is None:
            if environment.get("SLURM_JOB_NAME", "").endswith("-seal"):
                continue
            slurm_id = job = environment["SLURM_JOB_ID"]
            index = "0"
        restart = environment.get("SLURM_RESTART_COUNT") or "0"
        workers.append(
            Worker(
                status.process,
                f"{job}_{index}_{restart}",
                f"{job}_{index}",
                environment.get("SLURMD_NODENAME", ""),
                status.parent_pid,
                slurm_id,
            )
        )
    return sorted(workers, key=lambda worker: worker.attempt)


def local_workers(run: Path) -> list[Worker]:
    """The workers of local supervisors."""
    workers = []
    for status in run_processes(run):
        words = command_line(status.process.pid)
        if "synthclip_hpc.worker" in words:
            _, submission, element, restart, _ = words[words.index("synthclip_hpc.worker") + 1 :][:5]
            name = f"local{int(submission.split('-')[0])}_{element}"
            workers.append(Worker(status.process, f"{name}_{restart}", name, "local", status.parent_pid))
    return sorted(workers, key=lambda worker: worker.attempt)


def supervisors(run: Path) -> list[Process]:
    """The local supervisors that are alive."""
    return [
        status.process
        for status in run_processes(run)
        if "synthclip_hpc.launch.supervisor" in command_line(status.process.pid)
    ]


def command_line(pid: int) -> list[str]:
    """The words of a process's command line; empty when it has ended."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return data.decode(errors="replace").rstrip("\0").split("\0")
