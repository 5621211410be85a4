"""`python -m synthclip_hpc.training.rank RUN SUBMISSION ATTEMPT ROUND`: one rank of a training, started by torchrun.

It ends with torchrun, which ends with the worker. It looks at no signal: the worker gives it a word when it is to stop.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

from synthclip_hpc.device_child import FOR_THE_WORKER
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.runtime import prepare
from synthclip_hpc.processes import end_with
from synthclip_hpc.run import Run
from synthclip_hpc.submissions import load_submission
from synthclip_hpc.training.agent import AGENT_PID
from synthclip_hpc.training.rounds import RankError, Round
from synthclip_hpc.training.stop_word import ENVIRONMENT, StopEar


def main(argv: list[str]) -> int:
    """Be one rank; return the exit code. What went wrong is told in the round's folder."""
    end_with(int(os.environ[AGENT_PID]))
    for number in FOR_THE_WORKER:
        signal.signal(number, signal.SIG_IGN)
    ear = StopEar(os.environ[ENVIRONMENT])
    run, submission_name, attempt, number_text = Run(Path(argv[0])), argv[1], argv[2], argv[3]
    submission = load_submission(run, submission_name)
    one = Round.of(run.phase(submission.stage, submission.phase), attempt, int(number_text))
    # Before torch is imported, which the modules below do.
    prepare(submission.config.train.threads)
    try:
        from synthclip_hpc.training.trainer import train

        outcome = train(run, submission, attempt, int(number_text), ear)
    except Exception as error:
        kind = _kind(error)
        rank = int(os.environ["RANK"])
        if kind == "peer":
            print(f"rank {rank}: {type(error).__name__}: {error}; the next round goes on", file=sys.stderr)
        else:
            traceback.print_exc()
        trace = "".join(traceback.format_exception(error))[-8000:]
        one.fail(RankError(rank, kind, type(error).__name__, str(error)[:2000], trace))
        sys.stdout.flush()
        sys.stderr.flush()
        # Nothing is left to tidy up, and libraries' threads may wait for ranks that are gone.
        os._exit(1)
    if int(os.environ["RANK"]) == 0:
        one.end(outcome)
    return 0


def _kind(error: Exception) -> str:
    if isinstance(error, UserError):
        return "user"
    if isinstance(error, ImportError):
        return "own"  # maybe of torch, without which nothing more can be told
    from synthclip_hpc.training.data.workers import LoaderDied
    from synthclip_hpc.training.ranks import is_peer_loss

    return "peer" if isinstance(error, LoaderDied) or is_peer_loss(error) else "own"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
