"""`python -m evals TASK key=value …`: one task on one data set, its result as strict JSON on stdout and in `out=`.

`--key value` is the same as `key=value`. Each task is a module with `PROTOCOL`, a dataclass `Options` and
`run(options) -> dict`. Exit codes: 0 done, 1 the machine failed (a full disk), 2 a mistake in what was given.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from evals.errors import EvalError, nearest, run_command
from evals.options import describe, parse, split_words
from evals.results import write_result

TASKS = ("zero_shot", "retrieval", "long_tail", "extract", "linear_probe", "few_shot", "delta_mtl")
_HELP = ("-h", "--help", "help")


def main(argv: list[str]) -> int:
    """Run one task, or print help. Raises EvalError for a mistake in the arguments or in the data."""
    if not argv or argv[0] in _HELP:
        print(_overview())
        return 0
    asks_help = any(word in _HELP for word in argv)
    task, given = split_words([word for word in argv if word not in _HELP], "the task")
    if task not in TASKS:
        raise EvalError(f"{task}{nearest(task, TASKS)}: no such task; valid are {', '.join(TASKS)}")
    module = importlib.import_module(f"evals.{task}")
    if asks_help:
        print(_task_help(task, module))
        return 0
    out = given.pop("out", "")
    file = Path(out).expanduser() if out else None
    if file is not None and not file.absolute().parent.is_dir():
        raise EvalError(f"out={out}: there is no such folder; make it first")
    if file is not None and file.is_dir():
        raise EvalError(f"out={out}: a folder; give the name of a file, for example {file / 'result.json'}")
    options = parse(module.Options, given, task)
    write_result(module.run(options), file)
    return 0


def _overview() -> str:
    lines = [
        "usage: python -m evals TASK key=value … [out=FILE]   (--key value is the same)",
        "",
        "tasks (python -m evals TASK --help tells its keys):",
    ]
    for task in TASKS:
        module = importlib.import_module(f"evals.{task}")
        lines.append(f"  {task:<13} {(module.__doc__ or '').strip().splitlines()[0]}")
    return "\n".join(lines)


def _task_help(task: str, module: ModuleType) -> str:
    head = (module.__doc__ or "").strip()
    keys = f"{describe(module.Options)}\n  out=  file for the result, which is printed as well"
    return f"usage: python -m evals {task} key=value …\n\n{head}\n\nprotocol: {module.PROTOCOL}\n\nkeys:\n{keys}"


if __name__ == "__main__":
    sys.exit(run_command(main))
