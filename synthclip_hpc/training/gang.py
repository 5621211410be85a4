"""The workers' part in training: keep torchrun alive on all nodes of a job, round after round, and hear how it ended.

A rank or a launcher that is killed ends its round on every node, as the others lose their peer; the next round goes on
from the newest checkpoint, within the same job. What ends the attempt is a stop, an error of a rank's own, the end of
the training, or rounds that lead nowhere.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from sharding.directory import PhaseDirectory
from slurm.signals import Stopped
from slurm.torchrun import Meeting, Node, launcher_command, torchrun_arguments, torchrun_environment
from synthclip_hpc.errors import UserError
from synthclip_hpc.training.rounds import Outcome, RankError, Round, newest_round
from synthclip_hpc.training.stop_word import ENVIRONMENT, StopWord

AGENT, RANK = "synthclip_hpc.training.agent", "synthclip_hpc.training.rank"
_LOOK_EVERY_S = 0.2
_INVITATION_EVERY_S = 1.0
_SIGNAL_LATER_S = 5.0
_IDLE_ROUNDS = 3
"""Rounds in a row that end without a single step: then it is not bad luck."""
_STUCK_ROUNDS = 10
"""Rounds in a row that only repeat steps. Kills between two checkpoints may make some."""


class RankFailed(RuntimeError):
    """A rank ended with an error of its own, or rounds led nowhere."""


@dataclass(frozen=True)
class Job:
    """What the workers of all nodes of one attempt know."""

    directory: PhaseDirectory
    run: str
    submission: str
    attempt: str
    node: Node
    processes: str
    """Ranks on a node: a number, or `gpu`."""
    start_timeout_s: int
    threads: int
    """Of each rank."""

    def round(self, number: int) -> Round:
        """Return one of its rounds."""
        return Round.of(self.directory, self.attempt, number)


def lead(job: Job, safe_point: Callable[[], None], look: Callable[[int], int | None], tell: Callable[..., None]) -> int:
    """Be the worker of the first node: start rounds until the training is finished; return its last round's number.

    `safe_point` raises what is to end the attempt: the ranks are told to stop then, and when they have it is raised
    again. `look(round)` is called while ranks are at work and returns the newest step that it knows of; `tell` writes
    an event. Raises RankFailed, or UserError with what a rank found wrong.
    """
    newest, idle, stuck = -1, 0, 0
    first = newest_round(job.directory, job.attempt)
    number = 0 if first is None else first + 1
    while True:
        safe_point()
        address, port = _address(job.node), _free_port()
        job.round(number).invite(address, port)
        tell("round", round=number, address=address, port=port)
        code, ended_by = _one_round(job, number, Meeting(address, port, job.start_timeout_s), safe_point, look)
        outcome, errors = job.round(number).outcome(), job.round(number).errors()
        step = look(number)
        told = {"outcome": outcome.how, "step": outcome.step} if outcome else {"outcome": "lost", "step": step}
        tell("round_ended", round=number, exit_code=code, **told)
        if outcome is not None and outcome.how == "finished":
            return number
        if ended_by is not None:
            raise ended_by
        if outcome is not None:
            # Another node was told to stop first. What it was told is most often told to this one as well, and then
            # says whether the job may be queued again.
            _hear(safe_point)
            raise Stopped("terminate")
        if own := [error for error in errors if error.kind != "peer"]:
            raise _raised(own[0])
        idle = idle + 1 if step is None else 0
        stuck = 0 if step is not None and step > newest else stuck + 1
        newest = max(newest, -1 if step is None else step)
        if idle >= _IDLE_ROUNDS or stuck >= _STUCK_ROUNDS:
            how = (
                f"{idle} rounds in a row ended without a step"
                if idle >= _IDLE_ROUNDS
                else (f"{stuck} rounds in a row did not get beyond step {newest}")
            )
            raise RankFailed(f"{how}: {_reason(job, number, code, errors)}")
        number += 1


def accompany(job: Job, safe_point: Callable[[], None], is_done: Callable[[], bool]) -> None:
    """Be the worker of another node: take part in the rounds that the first node calls, until the training is done.

    Raises what `safe_point` raises, when the ranks of this node have ended.
    """
    seen = -1
    while not is_done():
        safe_point()
        number = newest_round(job.directory, job.attempt)
        if number is None or number <= seen:
            time.sleep(_INVITATION_EVERY_S)
            continue
        seen = number
        address, port = job.round(number).invitation()
        job.round(number).come(job.node.name)
        _, ended_by = _one_round(
            job, number, Meeting(address, port, job.start_timeout_s), safe_point, lambda number: None
        )
        if ended_by is not None:
            raise ended_by


def _one_round(
    job: Job,
    number: int,
    meeting: Meeting,
    safe_point: Callable[[], None],
    look: Callable[[int], int | None],
) -> tuple[int, BaseException | None]:
    """Run torchrun on this node to its end; return its exit code, and what the safe point raised meanwhile."""
    arguments = [job.run, job.submission, job.attempt, str(number)]
    torchrun = torchrun_arguments(job.node, meeting, job.processes, RANK, arguments)
    ended_by: BaseException | None = None
    with closing(StopWord()) as word:
        agent = subprocess.Popen(
            launcher_command(AGENT, os.getpid(), torchrun),
            stdin=subprocess.DEVNULL,
            env=_environment(os.environ, job) | {ENVIRONMENT: word.path},
        )
        try:
            while agent.poll() is None:
                if ended_by is None:
                    try:
                        safe_point()
                    except BaseException as reason:
                        ended_by = reason
                        word.give()
                look(number)
                time.sleep(_LOOK_EVERY_S)
        except BaseException:
            agent.kill()  # its ranks go with it
            raise
        finally:
            agent.wait()
    return agent.returncode, ended_by


def _hear(safe_point: Callable[[], None]) -> None:
    """Give a signal that other nodes have got already time to arrive here: `safe_point` raises it."""
    until = time.monotonic() + _SIGNAL_LATER_S
    while time.monotonic() < until:
        safe_point()
        time.sleep(_LOOK_EVERY_S)


def _environment(environ: Mapping[str, str], job: Job) -> dict[str, str]:
    """Return the launcher's environment, less what Slurm or another launcher told about ranks of its own kind."""
    kept = {
        key: value for key, value in environ.items() if key not in _FOREIGN and not key.startswith(_FOREIGN_PREFIXES)
    }
    # torchrun sets and tells of it otherwise.
    kept["OMP_NUM_THREADS"] = str(job.threads)
    if job.node.count == 1:
        # A name that resolves to an address of another network is no reason to fail on a single node.
        kept.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return kept | torchrun_environment()


_FOREIGN_PREFIXES = ("PET_", "TORCHELASTIC_")
_FOREIGN = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"}


def _address(node: Node) -> str:
    """Return the name by which the other nodes reach this one."""
    name = platform.node()
    if node.count == 1:
        return "127.0.0.1"
    try:
        socket.getaddrinfo(name, None)
    except OSError as error:
        raise UserError(
            f"the first node calls itself {name}, which does not resolve ({error}); the other nodes could not find it. "
            "Mend the name service, or run on one node: slurm.nodes=1"
        ) from error
    return name


def _free_port() -> int:
    """Return a port that nobody uses at this moment; when another is faster the next round takes another one."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port


def _raised(error: RankError) -> Exception:
    if error.kind == "user":
        return UserError(error.message)
    return RankFailed(f"rank {error.rank}: {error.type}: {error.message}\n{error.traceback}")


def _reason(job: Job, number: int, code: int, errors: list[RankError]) -> str:
    here = job.round(number).here()
    if len(here) < job.node.count - 1:
        return (
            f"only {1 + len(here)} of {job.node.count} nodes came within {job.start_timeout_s} s "
            f"({', '.join([job.node.name, *here])}); look at the others' logs, or raise train.start_timeout_s"
        )
    if errors:
        network = ""
        if job.node.count > 1:
            network = ". If nodes do not reach one another: GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME in slurm.setup"
        return f"rank {errors[0].rank} said {errors[0].type}: {errors[0].message}{network}"
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"torchrun ended with {how}; see the log before this"


__all__ = ["Job", "Outcome", "RankFailed", "accompany", "lead"]
