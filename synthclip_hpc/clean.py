"""`python -m synthclip_hpc.clean run=...`: remove what a run no longer needs. Shows what and how much first.

Outputs, seals, plans, journals, records and bad files are never touched, and what a marker says is kept. It may run
beside a run that is at work, may be killed anywhere, and goes on where it stopped when called again.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import UserError, run_command

if TYPE_CHECKING:
    from synthclip_hpc.housekeeping.heap import Heap
    from synthclip_hpc.run import Run


@dataclass(frozen=True)
class CleanOptions(RunOptions):
    """Options of `clean`."""

    dry_run: bool = False
    """Show what would go; remove nothing."""
    yes: bool = False
    """Remove it without asking."""
    assume_ended: bool = False
    """Treat earlier submissions as ended when the queue cannot be asked."""


def clean(argv: list[str]) -> int:
    """Show what may go, ask, remove it; return the exit code: 1 when the answer is no, or something had to stay."""
    options = parse_run_options(
        CleanOptions, argv, "python -m synthclip_hpc.clean", "Remove what a run no longer needs."
    )
    run = existing_run(options.run)
    run.load_config()
    heaps = survey(run, assume_ended=options.assume_ended)
    print(table(heaps))
    if not any(heap.num_files for heap in heaps) or options.dry_run:
        return 0
    if not options.yes:
        if not sys.stdin.isatty():
            raise UserError(
                "clean: stdin is no terminal to ask at. Look at it with dry-run=true, then add yes=true: "
                f"python -m synthclip_hpc.clean run={shlex.quote(str(run.path))} yes=true"
            )
        sys.stdout.write("Remove it? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
            print("nothing was removed")
            return 1
        # Whoever reads and thinks may take an hour: meanwhile other work may have begun.
        heaps = survey(run, assume_ended=options.assume_ended)
    left = [line for heap in heaps for line in heap.clear()]
    for line in left:
        print(f"left: {line}")
    print(f"removed {sum(heap.num_files for heap in heaps):,} files" if not left else "removed the rest")
    return 1 if left else 0


def survey(run: Run, *, assume_ended: bool = False) -> list[Heap]:
    """Find what may go, by kind. Raises UserError when the queue cannot be asked, unless `assume_ended`."""
    from synthclip_hpc.housekeeping.ground import look_around
    from synthclip_hpc.housekeeping.leftovers import partial, temporary
    from synthclip_hpc.housekeeping.logs import logs
    from synthclip_hpc.housekeeping.markers import markers
    from synthclip_hpc.housekeeping.scratch import drafts, scratch

    ground = look_around(run, assume_ended=assume_ended)
    return [find(ground) for find in (markers, logs, scratch, drafts, partial, temporary)]


def table(heaps: Sequence[Heap]) -> str:
    """Return how many files and bytes there are of each kind, a line each, and of all together."""
    from synthclip_hpc.foresight.words import size

    there = [heap for heap in heaps if heap.num_files]
    if not there:
        return "nothing to clean"
    rows = [(heap.kind, heap.num_files, heap.size_bytes) for heap in there]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    width = max(len(kind) for kind, _, _ in rows)
    lines = [f"{'what':<{width}}{'files':>10}{'size':>10}"]
    lines += [f"{kind:<{width}}{count:>10,}{size(size_bytes):>10}" for kind, count, size_bytes in rows]
    return "\n".join(lines)


def main() -> int:
    """Entry point."""
    return run_command(clean)


if __name__ == "__main__":
    sys.exit(main())
