"""`python -m synthclip_hpc.verify run=...`: do all markers, outputs and seals of a run still hold? Reads every byte."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import run_command

if TYPE_CHECKING:
    from sharding.check import Problem
    from synthclip_hpc.launch.chain import Link
    from synthclip_hpc.run import Run


@dataclass(frozen=True)
class VerifyOptions(RunOptions):
    """Options of `verify`."""

    stage: str = ""
    """Only these stages (comma-separated; default: all that have started)."""


def find_problems(run: Run, stage: str) -> Iterator[tuple[Link, list[Problem]]]:
    """Check every started phase of the stages; yields each with what is wrong in it."""
    from sharding.check import verify as verify_phase
    from synthclip_hpc.launch.chain import bound_links, started_stages
    from synthclip_hpc.stage_order import parse_stages

    wanted = parse_stages(stage or "all")
    for link in bound_links(run, [one for one in started_stages(run) if one in wanted]):
        problems = verify_phase(link.directory(run), link.plan)
        yield link, problems or _beside(run, link)


def _beside(run: Run, link: Link) -> list[Problem]:
    """Return what is wrong outside of the phase's folder: a problem of its one shard, which makes that again."""
    from sharding.check import Problem
    from sharding.marker import is_done

    directory, plan = link.directory(run), link.plan
    if link.phase.fault_beside is None or not is_done(directory, plan, 0):
        return []
    reason = link.phase.fault_beside(run)
    return [] if reason is None else [Problem(0, directory.data_path(0, plan.suffix), reason)]


def verify(argv: list[str]) -> int:
    """Print what is wrong; return 1 when anything is."""
    options = parse_run_options(VerifyOptions, argv, "python -m synthclip_hpc.verify", "Check all checksums of a run.")
    run = existing_run(options.run)
    run.load_config()
    bad = 0
    for link, problems in find_problems(run, options.stage):
        done = len(link.directory(run).marked_shards())
        print(f"{link.phase.key}: {done} of {link.plan.num_shards} shards done, {len(problems)} problems")
        for problem in problems:
            where = "seal" if problem.shard is None else f"shard {problem.shard}"
            print(f"  {where}: {problem.path}: {problem.reason}")
        bad += len(problems)
    if bad:
        print(
            f"reopen what is bad: python -m synthclip_hpc.repair run={run.path}\n"
            f"then go on with:    python -m synthclip_hpc.resume run={run.path}"
        )
    return 1 if bad else 0


def main() -> int:
    """Entry point."""
    return run_command(verify)


if __name__ == "__main__":
    sys.exit(main())
