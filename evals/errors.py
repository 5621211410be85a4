"""What a user's mistake raises in this package."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EvalError(ValueError):
    """A mistake the user can mend; the message names the argument or file, what is valid and the next step."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)`, or an empty string when nothing known is near `name`."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
