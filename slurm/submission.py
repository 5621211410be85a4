"""Submitting: one function, called once for each array element with arguments of its own, by way of submitit."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .arrays import ArrayPart, max_array_size, split_array
from .attempt import CancelRefused, cancel
from .executor import make_executor, submission_environment
from .refusal import SubmissionRefused
from .request import JobRequest
from .script import render_script

__all__ = [
    "JobRequest",
    "SubmissionRefused",
    "clear_stale_result",
    "max_array_size",
    "render_script",
    "submit_array",
    "submit_job",
]

# What submitit writes: before sbatch the first two, after it the others. Results and logs come from the job itself.
_SUBMITIT_FILE = re.compile(
    r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]{32}\.sh|\d+_submission\.sh|\d+(_\d+)?_submitted\.pkl"
)
_Arguments = Sequence[tuple[Any, ...]]


def submit_array(request: JobRequest, function: Callable[..., Any], arguments: _Arguments) -> list[str]:
    """Submit one array element for each tuple of arguments; return the job ids, one for each array.

    More elements than MaxArraySize become several arrays, each counting from 0: element i of array k gets the arguments
    `k * MaxArraySize + i`. The throttle holds for all together. A lone element is a plain job (submitit's way): its
    log has `0` for %a. The function must be importable on the node: only its name and the arguments are written.

    Raises SubmissionRefused, with nothing left behind, when sbatch refuses; ValueError for a function or arguments that
    cannot be sent; ProfileError for a log file without %a.
    """
    _check_function(function)
    if not arguments or len({len(each) for each in arguments}) != 1 or not arguments[0]:
        raise ValueError("arguments must be tuples, at least one, of the same length and not empty")
    request.check_array()
    limit = request.resources.max_array_size or max_array_size()
    return _submit(request, function, arguments, split_array(len(arguments), limit, request.resources.throttle))


def submit_job(request: JobRequest, function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    """Submit one plain job, all of whose tasks call the function; return its id. Raises as `submit_array`."""
    _check_function(function)
    if not arguments:
        raise ValueError("arguments must be a tuple of at least one")
    [job_id] = _submit(request, function, [arguments], split_array(1, 1, 0))
    return job_id


def clear_stale_result() -> None:
    """Remove what a killed attempt of this element left half-written: submitit would then refuse to write the result.

    For the worker to call at its start. Outside a submitit job it does nothing.
    """
    if "SUBMITIT_FOLDER" not in os.environ:
        return
    import submitit

    paths = submitit.JobEnvironment().paths
    for path in (paths.result_pickle, paths.submitted_pickle):
        path.with_name(f"{path.name}.save_tmp").unlink(missing_ok=True)


def _submit(
    request: JobRequest, function: Callable[..., Any], arguments: _Arguments, parts: Sequence[ArrayPart]
) -> list[str]:
    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            raise SubmissionRefused(f"{program} is not on the PATH")
    folder = request.folder.absolute()
    log_folder = Path(request.log).parent
    new_folders = [path for path in (folder, log_folder) if not path.exists() and "%" not in str(path)]
    before = _submitit_files(folder)
    job_ids: list[str] = []
    try:
        for path in new_folders:
            # Slurm makes no directories: without its folder for the log a job fails and nobody can read why.
            path.mkdir(parents=True, exist_ok=True)
        for part in parts:
            after = job_ids[-1] if part.after_previous else None
            own = arguments[part.first : part.first + part.count]
            job_ids.append(_submit_part(request, function, own, part, after))
    except BaseException as error:
        left_running = _take_back(job_ids)
        if not left_running and not (isinstance(error, SubmissionRefused) and error.uncertain):
            _remove(folder, before, new_folders)
        if isinstance(error, SubmissionRefused):
            raise SubmissionRefused(error.words, left_running) from error
        raise
    return job_ids


def _submit_part(
    request: JobRequest, function: Callable[..., Any], arguments: _Arguments, part: ArrayPart, after: str | None
) -> str:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    # submitit prints sbatch's words as well; they are in the exception.
    with submission_environment(request), contextlib.redirect_stderr(io.StringIO()):
        executor = make_executor(request, request.folder.absolute(), part, after)
        try:
            jobs = executor.map_array(function, *zip(*arguments, strict=True))
        except (FailedJobError, FailedSubmissionError) as error:
            raise SubmissionRefused(str(error)) from error
    return str(jobs[0].job_id).split("_")[0]


def _check_function(function: Callable[..., Any]) -> None:
    module = getattr(function, "__module__", "")
    name = getattr(function, "__qualname__", "")
    if module == "__main__" or getattr(sys.modules.get(module), name, None) is not function:
        raise ValueError(
            f"function {function!r} cannot be sent to a node; give a function at the top level of an importable module "
            "(not of __main__): a node must find it by name"
        )


def _take_back(job_ids: Sequence[str]) -> tuple[str, ...]:
    try:
        cancel(job_ids)
    except CancelRefused:
        return tuple(job_ids)
    return ()


def _submitit_files(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if _SUBMITIT_FILE.fullmatch(name)} if folder.is_dir() else set()


def _remove(folder: Path, before: set[str], new_folders: Sequence[Path]) -> None:
    for name in _submitit_files(folder) - before:
        (folder / name).unlink(missing_ok=True)
    for path in new_folders:
        # A folder in which somebody else has begun to write stays.
        with contextlib.suppress(OSError):
            path.rmdir()
