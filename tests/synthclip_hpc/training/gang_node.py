"""In place of torchrun, for test_gang.py: `python -m gang_node PARENT_PID … DIRECTORY SUBMISSION ATTEMPT ROUND`.

What it does in which round stands in `script.json` of the directory: a list of words for each round, the last for all
further ones. One after the other they are done; those of several nodes stand under the nodes' ranks.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from sharding.directory import PhaseDirectory
from synthclip_hpc.processes import end_with
from synthclip_hpc.training.rounds import Outcome, RankError, Round
from synthclip_hpc.training.stop_word import ENVIRONMENT, StopEar


def main(argv: list[str]) -> int:
    end_with(int(argv[0]))
    *_, run, _submission, attempt, number = argv
    ear = StopEar(os.environ[ENVIRONMENT])
    node = next(word.partition("=")[2] for word in argv if word.startswith("--node-rank"))
    (Path(run) / f"started-{node}-{number}.json").write_text(json.dumps({"pid": os.getpid(), "argv": argv}))
    rounds = json.loads((Path(run) / "script.json").read_bytes())[node]
    one = Round.of(PhaseDirectory(Path(run)), attempt, int(number))
    for word in rounds[min(int(number), len(rounds) - 1)]:
        name, _, value = word.partition(" ")
        if name == "exit":
            return int(value)
        do(name, value, one, ear)
    return 0


def do(name: str, value: str, one: Round, ear: StopEar) -> None:
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "outcome":
        how, step = value.split()
        one.end(Outcome(how, int(step)))
    elif name == "error":
        rank, kind, type_, message = value.split(" ", 3)
        one.fail(RankError(int(rank), kind, type_, message, f"Traceback of {type_}"))
    elif name == "step":
        (one.folder / "step").write_text(value)
    elif name == "wait_for_the_word":
        until(ear.heard)
        (one.folder / "heard").write_text(value)
    elif name == "go_on_for_a_second":
        time.sleep(1)
        (one.folder / "went_on").write_text(value)
    else:
        raise AssertionError(name)


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
