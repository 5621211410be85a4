"""`python -m synthclip_hpc.sample run=RUN n=16`: a contact sheet of the images that a run has so far, as one PNG.

At any time, also while images are being drawn: evenly chosen ones, the newest, or those of given keys. Nothing of the
run is changed.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import UserError, run_command

if TYPE_CHECKING:
    from synthclip_hpc.dataset.rendered_tars import RenderedTars, Shown
    from synthclip_hpc.run import Run

PROG = "python -m synthclip_hpc.sample"
PICTURE = "report/sample.png"
"""In the run directory: where the sheet goes when nothing else is said."""
_MOST = 1024


# ruff: noqa: UP045
# Optional[X]: see config.py.
@dataclass(frozen=True)
class SampleOptions(RunOptions):
    """Options of `sample`."""

    n: int = 16
    """Images on the sheet."""
    newest: bool = False
    """Those that were drawn last, in place of evenly chosen ones."""
    keys: Optional[str] = None
    """Those of these keys (positions in the balanced set), comma-separated."""
    out: Optional[str] = None
    """PNG file to write (default: report/sample.png in the run directory)."""


def sample(argv: list[str]) -> int:
    """Write the sheet and print what is on it; return the exit code."""
    options = parse_run_options(SampleOptions, argv, PROG, "Make a contact sheet of a run's images.")
    run = existing_run(options.run)
    if not 1 <= options.n <= _MOST:
        raise UserError(f"n={options.n}: wanted a whole number from 1 to {_MOST}")
    if options.newest and options.keys is not None:
        raise UserError(f"newest=true and keys={options.keys}: give one of the two")
    from sharding.files import make_directory, replace_file
    from synthclip_hpc.dataset.contact_sheet import contact_sheet
    from synthclip_hpc.dataset.rendered_tars import RenderedTars
    from synthclip_hpc.paths import path_of

    out = path_of("out", options.out) if options.out else run.path / PICTURE
    if out.is_dir():
        raise UserError(f"out={out}: is a folder; name a file, such as {out / 'sample.png'}")
    tars = RenderedTars(run.phase("render", "draw"), ".tar")
    if options.keys is not None:
        shown = _of_keys(run, tars, options.keys)
    else:
        shown = tars.newest(options.n) if options.newest else tars.spread(options.n)
    if not shown:
        raise UserError(
            f"run={run.path}: no image here yet; wait for the first, or: python -m synthclip_hpc.submit stage=render "
            f"run={run.path}"
        )
    sheet = contact_sheet([(one.image, one.caption) for one in shown], columns=_columns(len(shown)))
    make_directory(out.parent)
    replace_file(out, sheet)
    for one in shown:
        print(f"{one.key}  {one.caption}")
    print(f"written: {out}")
    return 0


def _of_keys(run: Run, tars: RenderedTars, given: str) -> list[Shown]:
    """Return the images of keys in the order given. Raises UserError for one that is no key, or has no image (yet)."""
    from sharding.plan import load_plan

    plan = load_plan(run.phase("render", "draw"))
    if plan is None:
        raise UserError(f"run={run.path}: not rendered yet; run: python -m synthclip_hpc.submit stage=render")
    keys = []
    by_shard = defaultdict[int, list[str]](list)
    for word in (part.strip() for part in given.split(",")):
        if not (word.isascii() and word.isdigit() and int(word) < plan.num_items):
            raise UserError(f"keys={given}: {word!r} is no position in the set; valid are 0 to {plan.num_items - 1}")
        keys.append(f"{int(word):09d}")
        by_shard[int(word) // plan.shard_items].append(keys[-1])
    found: dict[str, Shown] = {}
    for shard, wanted in by_shard.items():
        shown, rejected = tars.of(shard, wanted)
        if rejected:
            raise UserError(f"keys={given}: {', '.join(rejected)} was rejected, there is no image; leave it out")
        found |= {one.key: one for one in shown}
    if missing := [key for key in keys if key not in found]:
        raise UserError(f"keys={given}: {', '.join(missing)} is not drawn yet; wait, or leave it out")
    return [found[key] for key in keys]


def _columns(count: int) -> int:
    """Return how many images stand side by side: about as many as below one another, at most 8."""
    return min(8, next(side for side in range(1, 9) if side * side >= min(count, 64)))


def main() -> int:
    """Entry point."""
    return run_command(sample)


if __name__ == "__main__":
    sys.exit(main())
