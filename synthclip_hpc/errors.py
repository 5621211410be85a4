"""How a user's mistake leaves the program: one message, no traceback, exit code 2."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable

_OWN_PACKAGES = {"synthclip_hpc", "sharding", "slurm", "evals"}
_REFUSALS = {"SubmissionRefused", "CancelRefused"}
"""What a cluster may answer; known by name, because importing `slurm` here would slow every command down."""


GO_ON = "Go on with:"
"""What stands before the command that mends a failure; an error that has it needs no other advice behind it."""


class UserError(ValueError):
    """A mistake the user can mend; the message names the argument, the value, what is valid and the next step."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)`, or an empty string when nothing known is near `name`."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def is_user_mistake(error: BaseException) -> bool:
    """Tell our own errors (mistakes or refusals with a message for the user) from a bug's plain ValueError."""
    own = type(error).__module__.split(".")[0] in _OWN_PACKAGES
    return own and (isinstance(error, ValueError) or type(error).__name__ in _REFUSALS)


def run_command(command: Callable[[list[str]], int], argv: list[str] | None = None) -> int:
    """Run one entry point; print a user's mistake on stderr and return 2 for it.

    A full disk or a directory that may not be written is told in one line as well (exit code 1 and 2).
    """
    try:
        return command(sys.argv[1:] if argv is None else argv)
    except PermissionError as error:
        print(f"error: not allowed: {error.strerror}: {error.filename}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone; nothing is wrong, and nothing more can be printed.
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if not is_user_mistake(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
