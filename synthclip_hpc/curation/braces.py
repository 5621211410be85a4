"""Lists of files as WebDatasets are named: `folder/{00000..00331}.tar`, `{train,extra}-{0..9}.tar`."""

from __future__ import annotations

import re
from itertools import product

from synthclip_hpc.errors import UserError

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST_NAMES = 1_000_000


def expand_braces(text: str, told: str) -> list[str]:
    """Return the names that a text lists, in the order in which a shell would; none for a text without braces.

    `{a,b}` is a list of texts; `{first..last}` of whole numbers, filled up with zeros when one of the two is. Braces
    inside braces are not read. Raises UserError, which begins with `told`, for a range that goes backwards, for braces
    that hold neither, and for more than a million names.
    """
    parts = _BRACES.split(text)
    choices = [_choices(part, told) if place % 2 else [part] for place, part in enumerate(parts)]
    if len(parts) == 1:
        return []
    number = 1
    for choice in choices:
        number *= len(choice)
    if number > MOST_NAMES:
        raise UserError(f"{told}: lists {number:,} names; at most {MOST_NAMES:,} are read")
    return ["".join(one) for one in product(*choices)]


def _choices(inside: str, told: str) -> list[str]:
    found = _RANGE.fullmatch(inside)
    if found is None:
        if "," in inside:
            return inside.split(",")
        raise UserError(f"{told}: {{{inside}}} is no list; wanted numbers such as {{000..331}}, or {{first,second}}")
    first, last = found.groups()
    if int(first) > int(last) or int(last) - int(first) >= MOST_NAMES:
        raise UserError(
            f"{told}: {{{inside}}} is no range; wanted the smaller number first, and at most {MOST_NAMES:,}"
        )
    is_filled = any(len(end) > 1 and end[0] == "0" for end in (first, last))
    width = max(len(first), len(last)) if is_filled else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
