"""The sbatch script of a request, as text, without submitting."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path

from .arrays import ArrayPart, max_array_size, split_array
from .executor import make_executor, submission_environment
from .request import JobRequest


def render_script(request: JobRequest, num_elements: int) -> str:
    """The text that sbatch would get for so many elements. Nothing is submitted, and nothing that is written stays.

    More elements than MaxArraySize give several scripts, each under a comment that says which elements it has; one that
    waits for the array before it names that as `ARRAY`. Equal inputs give equal text, as long as the cluster, which is
    asked where `max_array_size` is not set, gives the same answer.
    """
    if num_elements < 1:
        raise ValueError(f"num_elements is {num_elements}; it must be at least 1")
    if num_elements == 1:
        return _render_part(request, split_array(1, 1, 0)[0])
    request.check_array()
    limit = request.resources.max_array_size or max_array_size()
    parts = split_array(num_elements, limit, request.resources.throttle)
    scripts = []
    for number, part in enumerate(parts, start=1):
        script = _render_part(request, part)
        if len(parts) > 1:
            head = f"# array {number} of {len(parts)}: elements {part.first} to {part.first + part.count - 1}"
            script = f"{head}\n{script}"
        scripts.append(script)
    return "\n".join(scripts)


def _render_part(request: JobRequest, part: ArrayPart) -> str:
    """Let submitit submit to an sbatch that only prints its argument, and read the script that it wrote.

    submitit looks for `job NUMBER` in what sbatch says; the name of the folder, which is in the argument, has that. The
    programs are links, because nothing written to a temporary folder may be executed on some login nodes.
    """
    with tempfile.TemporaryDirectory(prefix="job 1 ") as temporary:
        programs, folder = Path(temporary, "programs"), Path(temporary, "folder")
        programs.mkdir()
        for name in ("sbatch", "srun"):
            os.symlink(shutil.which("echo") or "/bin/echo", programs / name)
        # Nothing else on the PATH: the real sbatch must not be found, whatever happens.
        with submission_environment(request, PATH=str(programs)):
            executor = make_executor(request, folder, part, "ARRAY" if part.after_previous else None)
            # Two elements make an array like any other: the size in the script comes from `part`.
            executor.map_array(_nothing, range(min(part.count, 2)))
        [path] = folder.glob("[0-9]*_submission.sh")
        return _with_folder(path.read_text(encoding="utf-8"), str(folder), str(request.folder.absolute()))


def _with_folder(script: str, old: str, new: str) -> str:
    lines = script.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("srun ") and old in line:
            words = [new + word[len(old) :] if word.startswith(old) else word for word in shlex.split(line)]
            lines[number] = shlex.join(words)
    return "\n".join(lines)


def _nothing(element: int) -> None:
    return None
