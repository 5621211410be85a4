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
    from synthclip_hpc import provenance
    from synthclip_hpc.launch.chain import bind, left_for_later, plan_links, started_stages, with_upstream
    from synthclip_hpc.launch.launching import check_places, resolve_cluster, start
    from synthclip_hpc.launch.report import dry_run_text, print_finished, print_started
    from synthclip_hpc.pipeline import STAGES, parse_stages

    cluster = resolve_cluster(options.cluster)
    config = config_of(options)
    stages = with_upstream(run, config, parse_stages(options.stage), options.upstream)
    affected = [stage for stage in STAGES if stage in {*stages, *started_stages(run)}]
    links = [link for link in plan_links(run, config, affected) if link.phase.stage in stages]
    check_places(run, links, config, cluster)
    if options.dry_run:
        print(dry_run_text(run, links, config, cluster), end="")
        return 0
    run.create(config, provenance.of_submission(sys.argv))
    # The plans decide first: of two commands with different configurations one is refused here, and must not have
    # replaced the other's configuration by then.
    bind(run, links)
    if run.load_config() != config:
        run.update_config(config)
    started = start(run, links, config, cluster, assume_ended=options.assume_ended)
    print_started(run, started, left_for_later(links, stages))
    if options.wait:
        from synthclip_hpc.monitor.follow import follow

        return follow(run)
    print_finished(run, stages)
    return 0


def main() -> int:
    """Entry point."""
    return run_command(submit)


if __name__ == "__main__":
    sys.exit(main())
