"""`python -m synthclip_hpc.repair run=...`: reopen the shards that `verify` finds bad. Bad files move aside."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthclip_hpc.commands import existing_run, parse_run_options
from synthclip_hpc.errors import UserError, run_command
from synthclip_hpc.verify import VerifyOptions, find_problems

if TYPE_CHECKING:
    from synthclip_hpc.run import Run
    from synthclip_hpc.stages.phase import Phase


@dataclass(frozen=True)
class RepairOptions(VerifyOptions):
    """Options of `repair`."""

    assume_ended: bool = False
    """Treat earlier submissions as ended when the queue cannot be asked."""


def repair(argv: list[str]) -> int:
    """Verify, then reopen; return the exit code."""
    options = parse_run_options(
        RepairOptions, argv, "python -m synthclip_hpc.repair", "Reopen the bad shards of a run."
    )
    run = existing_run(options.run)
    run.load_config()
    from sharding.check import repair as repair_phase
    from synthclip_hpc.launch.liveness import living
    from synthclip_hpc.submissions import all_submissions

    def refuse_company() -> None:
        alive = living(all_submissions(run), assume_ended=options.assume_ended)
        if alive:
            raise UserError(
                f"run={run.path}: {', '.join(one.name for one in alive)} still at work; cancel or wait, then repair"
            )

    refuse_company()
    reopened = 0
    for link, problems in find_problems(run, options.stage):
        if problems:
            # Again: reading every byte may have taken hours.
            refuse_company()
            reopen_dependents(run, link.phase)
        shards = repair_phase(link.directory(run), problems)
        if problems:
            told = ", ".join(map(str, shards[:20])) + (" ..." if len(shards) > 20 else "")
            bad = link.directory(run).path / "bad"
            print(f"{link.phase.key}: reopened {len(shards)} shards{': ' + told if shards else ''}; bad files: {bad}")
        reopened += len(problems)
    print(f"go on with: python -m synthclip_hpc.resume run={run.path}" if reopened else "nothing to repair")
    return 0


def reopen_dependents(run: Run, repaired: Phase) -> None:
    """Reopen the phases that are to be made again after this one's repair, before it begins."""
    from sharding.check import reopen
    from synthclip_hpc.launch.chain import bound_links, started_stages

    for link in bound_links(run, started_stages(run)):
        if (repaired.stage, repaired.name) in link.phase.made_again_with:
            shards = reopen(link.directory(run), link.plan)
            if shards:
                print(f"{link.phase.key}: reopened all {len(shards)} shards, which tell of the files of {repaired.key}")


def main() -> int:
    """Entry point."""
    return run_command(repair)


if __name__ == "__main__":
    sys.exit(main())
