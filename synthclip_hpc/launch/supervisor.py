"""The local supervisor: keeps the workers of one submission alive after the other, then seals, then goes on.

It holds no state that matters: killed at any moment, it leaves the same files as a killed Slurm job, and `resume`
starts another. Its workers notice that they are orphans and stop at their next safe point.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sharding.journal import Journal
from sharding.seal import load_seal
from synthclip_hpc.launch.liveness import living
from synthclip_hpc.log_files import worker_log
from synthclip_hpc.node_check import EXIT_UNFIT
from synthclip_hpc.pipeline import find_phase
from synthclip_hpc.place import devices_of_worker
from synthclip_hpc.processes import identify
from synthclip_hpc.run import Run
from synthclip_hpc.sealing import seal_submission
from synthclip_hpc.submissions import Submission, load_submission, update

_POLL_S = 0.1
_UPSTREAM_POLL_S = 1.0
_GRACE_S = 10.0
_OWN_ERROR = 1
"""Exit code of a worker that ended with an error of its own: starting it again would meet the same error."""


@dataclass
class Worker:
    """One element's process and how often it was started again."""

    element: int
    restart: int
    process: subprocess.Popen[bytes]


class Supervisor:
    """Runs the elements of one submission as processes."""

    def __init__(self, run: Run, submission: Submission) -> None:
        self.run, self.submission = run, submission
        self.attempt = f"local{submission.number}_seal_0"
        self.journal = Journal(run.phase(submission.stage, submission.phase).journal_path(self.attempt))
        self.journal.event(
            "start", attempt=self.attempt, role="supervisor", submission=submission.name, pid=os.getpid()
        )
        self.restart_limit = submission.config.retries.unknown
        self.stopping = False

    def stop(self, number: int, frame: object) -> None:
        """Ask for the end of everything; a signal handler, so it only sets a flag."""
        self.stopping = True

    def wait_for_upstream(self) -> bool:
        """Wait while another supervisor works on the submission that this one builds on; False when told to stop."""
        after = self.submission.record.get("after")
        while after and not self.stopping:
            before = load_submission(self.run, after)
            if load_seal(self.run.phase(before.stage, before.phase)) is not None:
                break
            if not living([before], assume_ended=True):
                break  # it failed: our workers will say what is missing
            time.sleep(_UPSTREAM_POLL_S)
        return not self.stopping

    def supervise(self) -> bool:
        """Run all elements to their end; False when stopped by a signal."""
        workers = [self._start(element, 0) for element in range(self.submission.num_elements)]
        deadline = None
        while workers:
            if self.stopping and deadline is None:
                deadline = time.monotonic() + _GRACE_S
                for worker in workers:
                    worker.process.terminate()
            if deadline is not None and time.monotonic() > deadline:
                for worker in workers:
                    worker.process.kill()
            running = []
            for worker in workers:
                code = worker.process.poll()
                if code is None:
                    running.append(worker)
                elif (again := self._after(worker, code)) is not None:
                    running.append(again)
            workers = running
            time.sleep(_POLL_S)
        return not self.stopping

    def _after(self, worker: Worker, code: int) -> Worker | None:
        self.journal.event("worker_ended", element=worker.element, restart=worker.restart, exit_code=code)
        if self.stopping or code in (0, _OWN_ERROR, EXIT_UNFIT):
            return None
        if worker.restart >= self.restart_limit:
            self.journal.event(
                "gave_up", element=worker.element, cause="unknown", count=worker.restart + 1, limit=self.restart_limit
            )
            return None
        return self._start(worker.element, worker.restart + 1)

    def _environment(self, element: int) -> dict[str, str]:
        """Give each worker GPUs of its own: all would take the first otherwise."""
        phase = find_phase(self.submission.stage, self.submission.phase)
        if not (gpus := phase.gpus(self.submission.config)):
            return dict(os.environ)
        devices = devices_of_worker(element, gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
        return {**os.environ, "CUDA_VISIBLE_DEVICES": devices}

    def _start(self, element: int, restart: int) -> Worker:
        path = worker_log(self.run, self.submission.stage, self.submission.name, element)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "synthclip_hpc.worker",
                    str(self.run.path),
                    self.submission.name,
                    str(element),
                    str(restart),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(element),
            )
        self.journal.event("worker_started", element=element, restart=restart, pid=process.pid)
        return Worker(element, restart, process)


def main(argv: list[str]) -> int:
    """Run a chain of submissions; the first that cannot be sealed ends it."""
    run = Run(Path(argv[0]))
    # Recorded by the supervisor itself, first of all: whoever started it may be gone by now.
    me = identify(os.getpid())
    for name in argv[1:]:
        update(load_submission(run, name), state="submitted", supervisor=me)
    for name in argv[1:]:
        submission = load_submission(run, name)
        supervisor = Supervisor(run, submission)
        signal.signal(signal.SIGTERM, supervisor.stop)
        signal.signal(signal.SIGINT, supervisor.stop)
        # Looked at after the handlers are there: `cancel` leaves its word first and sends its signal second.
        calm = not submission.is_cancelled() and supervisor.wait_for_upstream() and supervisor.supervise()
        facts = {"job": f"local{submission.number}", "index": "seal", "restart": 0, "node": os.uname().nodename}
        sealed = calm and seal_submission(run, submission, supervisor.attempt, **facts)
        update(submission, state="ended")
        if not sealed:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
