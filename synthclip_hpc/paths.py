"""Paths that a user names, and which names no file can have; and the user's cache folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from synthclip_hpc.errors import UserError

_TOLD_CHARACTERS = 80


def path_of(key: str, name: str) -> Path:
    """Return the path that `key=name` gives, `~` expanded; whether there is such a file is the caller's question.

    Raises UserError for a name that no file can have: `~` of a user nobody knows, a text in place of a file's name.
    """
    told = f"{key}={name if len(name) <= _TOLD_CHARACTERS else name[:_TOLD_CHARACTERS] + '…'}"
    try:
        path = Path(name).expanduser()
        path.stat()
    except RuntimeError as error:
        raise UserError(
            f"{told}: there is no such user (~); write the whole path, or ./ before a file's name"
        ) from error
    except ValueError as error:
        raise UserError(f"{key}={name!a}: no file can have this name ({error}); name another") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(
                f"{told}: too long for the name of a file; to give a text, put it into a file and name that"
            ) from error
    return path


def cache_folder() -> Path:
    """Return where what can be made again is kept: `$SYNTHCLIP_CACHE`, or a folder in `$XDG_CACHE_HOME` or `~/.cache`.

    Unpacked models, and what `remembered` keeps.
    """
    own = os.environ.get("SYNTHCLIP_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser().absolute() / "synthclip-hpc"
