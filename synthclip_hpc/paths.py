"""From a name that a user gave to a path: the one place that tells which names no file can have."""

from __future__ import annotations

import errno
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
