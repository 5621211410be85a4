"""`python -m synthclip_hpc.submit stage=captions`: plan one or more stages and start them.

Returns at once with job ids, log path and the status command; `wait=true` follows the work. A stage that has started is
resumed; of a finished one it says so.
"""

from __future__ import annotations

import sys

from synthclip_hpc.commands import SubmitOptions, config_of, parse_config_options
from synthclip_hpc.errors import run_command

PROG = "python -m synthclip_hpc.submit"


def submit(argv: list[str]) -> int:
    """Parse, plan, start; return the exit code."""
    run, options = parse_config_options(SubmitOptions, argv, PROG, "Plan stages of a run and start them.")
    from synthclip_hpc.carrying_out import carry_out
    from synthclip_hpc.launch.chain import with_upstream
    from synthclip_hpc.launch.place_check import resolve_cluster
    from synthclip_hpc.stage_order import parse_stages

    cluster = resolve_cluster(options.cluster)
    config = config_of(options)
    stages = with_upstream(run, config, parse_stages(options.stage), options.upstream)
    return carry_out(run, config, stages, cluster, options, ask=not options.yes)


def main() -> int:
    """Entry point."""
    return run_command(submit)


if __name__ == "__main__":
    sys.exit(main())
