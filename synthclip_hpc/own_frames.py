"""Where an error came from: the innermost frame in our own packages, `synthclip_hpc/work.py:work`."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

_OWN = ("synthclip_hpc", "sharding", "slurm", "evals")
_ROOT = Path(__file__).resolve().parents[1]
_FRAME = re.compile(r'^ *File "([^"\n]+)", line \d+, in (.+)$', re.MULTILINE)
_OWN_FILE = re.compile(rf".*(?:^|(?<!/tests)/)((?:{'|'.join(_OWN)})/.+)")
_FOREIGN = ("site-packages/", "dist-packages/")


def frame_of(trace: TracebackType | None) -> str:
    """Return `package/file.py:function` of the innermost frame in our own packages; empty without one."""
    found = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        path = Path(code.co_filename)
        if path.is_relative_to(_ROOT) and (own := path.relative_to(_ROOT)).parts[0] in _OWN:
            found = f"{own.as_posix()}:{code.co_name}"
        trace = trace.tb_next
    return found


def frame_of_text(traceback: str) -> str:
    """Return the same from a traceback's text."""
    found = ""
    for file, function in _FRAME.findall(traceback):
        match = _OWN_FILE.fullmatch(file)
        if match and not any(folder in match[1] for folder in _FOREIGN):
            found = f"{match[1]}:{function}"
    return found
