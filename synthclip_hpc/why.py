"""`python -m synthclip_hpc.why shard=render/1234 run=...`: one shard's whole story, from plan to logs."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from synthclip_hpc.commands import RunOptions, existing_run, parse_run_options
from synthclip_hpc.errors import UserError, run_command

PROG = "python -m synthclip_hpc.why"


@dataclass(frozen=True)
class WhyOptions(RunOptions):
    """Options of `why`."""

    shard: str = ""
    """The shard: STAGE/NUMBER, or STAGE/PHASE/NUMBER where a stage has several phases."""
    lines: int = 15
    """So many last lines of a traceback and of each log."""
    json: bool = False
    """Print as JSON (schema 1), without the logs' tails."""


def why(argv: list[str]) -> int:
    """Print the story; return the exit code."""
    options = parse_run_options(WhyOptions, argv, PROG, "Tell the whole story of one shard.")
    run = existing_run(options.run)
    run.load_config()
    if not options.shard:
        raise UserError(
            "shard is missing: name one, e.g. shard=render/1234; `failures` and `status` name those in need"
        )
    if options.lines < 0:
        raise UserError(f"lines={options.lines}: wanted 0 (none) or a positive number")
    from synthclip_hpc.triage.story import find_shard, tell_shard
    from synthclip_hpc.triage.story_text import lines_of

    story = tell_shard(run, *find_shard(run, options.shard))
    if options.json:
        import json

        print(json.dumps(story.to_json(), indent=1))
        return 0
    print("\n".join(lines_of(story, run.path, options.lines)))
    return 0


def main() -> int:
    """Entry point."""
    return run_command(why)


if __name__ == "__main__":
    sys.exit(main())
