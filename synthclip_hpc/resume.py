"""`python -m synthclip_hpc.resume run=...`: start again whatever is neither finished nor alive."""

from __future__ import annotations

import sys

from synthclip_hpc.commands import LaunchOptions, config_of, parse_config_options
from synthclip_hpc.errors import UserError, run_command

PROG = "python -m synthclip_hpc.resume"


def resume(argv: list[str]) -> int:
    """Submit the missing shards of every started phase and chain the rest; return the exit code."""
    run, options = parse_config_options(LaunchOptions, argv, PROG, "Start again what is neither finished nor alive.")
    from synthclip_hpc.carrying_out import carry_out
    from synthclip_hpc.launch.chain import started_stages
    from synthclip_hpc.launch.environment import use_latest
    from synthclip_hpc.launch.launching import resolve_cluster
    from synthclip_hpc.submissions import all_submissions

    run.load_config()  # raises for a run that is not there
    stages = started_stages(run)
    if not stages:
        raise UserError(
            f"run={run.path}: nothing has started; start with: "
            f"python -m synthclip_hpc.submit stage=captions run={run.path}"
        )
    cluster = options.cluster
    if cluster == "auto" and (known := all_submissions(run)):
        cluster = str(known[-1].record["cluster_option"])
        # The run's own cluster, whatever this shell points to.
        use_latest(known)
    return carry_out(run, config_of(options), stages, resolve_cluster(cluster), options)


def main() -> int:
    """Entry point."""
    return run_command(resume)


if __name__ == "__main__":
    sys.exit(main())
