"""Zero-shot classification of rare concepts, each beside the number of training captions that name it.

The ten classes of the paper's long-tail analysis are said to be in the concept bank and in no caption of CC12M. Whether
a class is rare depends on the rule of matching, so the counts stand next to the accuracy: `counts=FILE` has them, from
whoever has the captions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from evals import zero_shot
from evals.errors import EvalError, nearest
from evals.texts import plain_name, read_text

PROTOCOL = f"{zero_shot.PROTOCOL}; beside each class the number of training captions that match it"
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Options(zero_shot.Options):
    """What the task takes."""

    counts: Annotated[
        str, "file of match counts: a JSON object class -> number, or lines class<TAB>number; none: not known"
    ]


def run(options: Options) -> dict[str, Any]:
    """Measure a model on a data set of rare classes; return the result. Raises EvalError."""
    known = None if options.counts == NONE else read_counts(options.counts)
    names, result = zero_shot.evaluate(options)
    matches = [None] * len(names) if known is None else counts_of(names, known, options.counts)
    result["per_class"] = {"name": names, **result["per_class"], "matches": matches}
    return {**result, "task": Path(__file__).stem, "protocol": PROTOCOL}


def read_counts(text: str) -> dict[str, int]:
    """Return the match count of each class in a file. Raises EvalError when it is not of either form."""
    path = Path(text).expanduser()
    if not path.is_file():
        raise EvalError(
            f"counts={text}: there is no such file; give one, or counts={NONE} for a model of unknown captions"
        )
    content = read_text(path, f"counts={text}")
    try:
        if path.suffix == ".json":
            pairs = dict(json.loads(content))
        else:
            pairs = dict(line.rsplit("\t", 1) for line in content.splitlines() if line.strip())
        counts = {str(name): _whole(number) for name, number in pairs.items()}
    except (ValueError, TypeError) as error:
        raise EvalError(
            f"counts={text}: neither a JSON object of whole numbers nor lines class<TAB>number ({error})"
        ) from error
    return counts


def counts_of(names: Sequence[str], counts: Mapping[str, int], told: str) -> list[int]:
    """Return the count of each name, whatever its case, `_`, `-` and spaces. Raises EvalError for a missing one."""
    plain = {plain_name(name): count for name, count in counts.items()}
    if missing := [name for name in names if plain_name(name) not in plain]:
        raise EvalError(
            f"counts={told}: no count for the class {missing[0]!r}{nearest(missing[0], counts)}; add it, 0 for none"
        )
    return [plain[plain_name(name)] for name in names]


def _whole(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int | str):
        raise TypeError(f"{number!r} is no whole number")
    count = int(number)
    if count < 0:
        raise ValueError(f"{count} is below 0")
    return count
