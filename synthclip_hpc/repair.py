"""`python -m synthclip_hpc.repair run=...`: reopen the shards that `verify` finds bad. Bad files move aside."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from synthclip_hpc.commands import existing_run, parse_run_options
from synthclip_hpc.errors import UserError, run_command
from synthclip_hpc.verify import VerifyOptions, find_problems


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
        shards = repair_phase(link.directory(run), problems)
        if problems:
            told = ", ".join(map(str, shards[:20])) + (" ..." if len(shards) > 20 else "")
            bad = link.directory(run).path / "bad"
            print(f"{link.phase.key}: reopened {len(shards)} shards{': ' + told if shards else ''}; bad files: {bad}")
        reopened += len(problems)
    print(f"go on with: python -m synthclip_hpc.resume run={run.path}" if reopened else "nothing to repair")
    return 0


def main() -> int:
    """Entry point."""
    return run_command(repair)


if __name__ == "__main__":
    sys.exit(main())
