"""`python -m synthclip_hpc.resume run=...`: start again whatever is neither finished nor alive."""

from __future__ import annotations

import sys

from synthclip_hpc.commands import LaunchOptions, config_of, parse_config_options
from synthclip_hpc.errors import UserError, run_command

PROG = "python -m synthclip_hpc.resume"


def resume(argv: list[str]) -> int:
    """Submit the missing shards of every started phase and chain the rest; return the exit code."""
    run, options = parse_config_options(LaunchOptions, argv, PROG, "Start again what is neither finished nor alive.")
    from synthclip_hpc.launch.chain import bind, left_for_later, plan_links, started_stages
    from synthclip_hpc.launch.environment import use_latest
    from synthclip_hpc.launch.launching import check_places, resolve_cluster, start
    from synthclip_hpc.launch.report import dry_run_text, print_started
    from synthclip_hpc.submissions import all_submissions

    frozen, config = run.load_config(), config_of(options)
    stages = started_stages(run)
    if not stages:
        raise UserError(
            f"run={run.path}: nothing has started; start with: "
            f"python -m synthclip_hpc.submit stage=captions run={run.path}"
        )
    links = plan_links(run, config, stages)
    cluster = options.cluster
    if cluster == "auto" and (known := all_submissions(run)):
        cluster = str(known[-1].record["cluster_option"])
        # The run's own cluster, whatever this shell points to.
        use_latest(known)
    cluster = resolve_cluster(cluster)
    check_places(run, links, config, cluster)
    if options.dry_run:
        print(dry_run_text(run, links, config, cluster), end="")
        return 0
    if frozen != config:
        run.update_config(config)
    bind(run, links)  # what could not be laid out before
    started = start(run, links, config, cluster, assume_ended=options.assume_ended)
    print_started(run, started, left_for_later(links, stages))
    if options.wait:
        from synthclip_hpc.monitor.follow import follow

        return follow(run)
    return 0


def main() -> int:
    """Entry point."""
    return run_command(resume)


if __name__ == "__main__":
    sys.exit(main())
