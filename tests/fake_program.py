"""What every fake Slurm program does (see fake_slurm.py): its own path tells it its name and its state folder."""

import json
import os
import sys
import time

NAME = os.path.basename(sys.argv[0])  # noqa: PTH119 (starts faster without pathlib)
STATE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0]))), "state")  # noqa: PTH100,PTH118,PTH120


def main() -> int:
    calls = os.path.join(STATE, f"{NAME}.calls")  # noqa: PTH118
    call = {"argv": sys.argv[1:], "env": dict(os.environ)}
    if NAME == "sbatch":
        with open(sys.argv[-1], encoding="utf-8") as script:
            call["script"] = script.read()
    with open(calls, "a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")
    with open(calls, encoding="utf-8") as file:
        number = sum(1 for _ in file)
    answer = configured_answer(number) or default_answer(number)
    time.sleep(answer.get("sleep_s", 0))
    sys.stdout.write(answer.get("stdout", ""))
    sys.stderr.write(answer.get("stderr", ""))
    sys.stdout.flush()
    if answer.get("signal"):
        os.kill(os.getpid(), answer["signal"])
    return int(answer.get("exit", 0))


def configured_answer(number: int) -> dict:
    path = os.path.join(STATE, f"{NAME}.answers")  # noqa: PTH118
    if not os.path.exists(path):  # noqa: PTH110
        return {}
    with open(path, encoding="utf-8") as file:
        answers = json.load(file)
    return answers[min(number, len(answers)) - 1]


def default_answer(number: int) -> dict:
    if NAME == "sbatch":
        return {"stdout": f"Submitted batch job {100 + number}\n"}
    if NAME == "scontrol":
        return {"stdout": "MaxArraySize            = 1001\n"}
    return {}


sys.exit(main())
