"""What a user's mistake raises in this package, and how its commands tell of it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable


class EvalError(ValueError):
    """A mistake the user can mend; the message names the argument or file, what is valid and the next step."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)`, or an empty string when nothing known is near `name`."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def run_command(main: Callable[[list[str]], int]) -> int:
    """Run a command on the words it was given; return its exit code: 2 for a mistake, 1 when the machine failed."""
    try:
        return main(sys.argv[1:])
    except EvalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
