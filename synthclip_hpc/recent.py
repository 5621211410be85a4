"""The user's recent runs, kept in the cache folder: where `status` leads when no run is named."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from sharding.canonical import fingerprint
from sharding.files import make_directory, replace_file
from synthclip_hpc import remembered

KEPT = 50


def remember_run(path: Path) -> None:
    """Note that a run was started or looked at now; not of one in the temporary folder, which will be gone.

    A cache that cannot be written is done without.
    """
    if path.absolute().is_relative_to(tempfile.gettempdir()):
        return
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: a user without a home
        folder = _folder()
        make_directory(folder)
        name = str(path.absolute())
        replace_file(folder / f"{fingerprint(ascii(name))}.txt", os.fsencode(name))
        for old in _newest_first(folder)[KEPT:]:
            old.unlink(missing_ok=True)


def recent_runs() -> list[Path]:
    """Return the run directories, the latest first.

    Whether they are still there is not asked: it may take long where a file system hangs.
    """
    found = []
    with contextlib.suppress(OSError, RuntimeError):
        for note in _newest_first(_folder()):
            with contextlib.suppress(FileNotFoundError):  # another command has just removed it
                found.append(Path(os.fsdecode(note.read_bytes())))
    return found


def _folder() -> Path:
    return remembered.remembering_folder() / "runs"


def _newest_first(folder: Path) -> list[Path]:
    found = []
    for note in folder.glob("*.txt"):
        with contextlib.suppress(FileNotFoundError):  # another command has just removed it
            found.append((-note.stat().st_mtime_ns, note.name, note))
    return [note for *_, note in sorted(found)]
