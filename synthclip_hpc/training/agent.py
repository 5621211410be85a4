"""`python -m synthclip_hpc.training.agent PARENT_PID …`: torchrun, tied to the life of the worker that started it.

The agent and all that it starts block the signals that a scheduler sends to a whole job: what follows from these is the
worker's to decide, which tells the ranks by a stop word. So torchrun can neither die of a warning nor end its ranks
because of one, whatever signals its version takes. When the worker dies, however it dies, the kernel ends the agent,
and then the ranks.
"""

from __future__ import annotations

import os
import signal
import sys

from synthclip_hpc.device_child import FOR_THE_WORKER
from synthclip_hpc.processes import end_with

AGENT_PID = "SYNTHCLIP_AGENT_PID"
"""Environment variable by which a rank knows whom to die with."""


def main(argv: list[str]) -> None:
    """Be the launcher of one node; exits as torchrun does."""
    end_with(int(argv[0]))
    signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_WORKER)
    os.environ[AGENT_PID] = str(os.getpid())
    from torch.distributed import run

    run.main(argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
