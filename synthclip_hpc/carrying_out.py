"""What `submit` and `resume` do once they know the run, its configuration and the stages: plan, bind, start, wait."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from synthclip_hpc import provenance
from synthclip_hpc.commands import LaunchOptions
from synthclip_hpc.config import RunConfig
from synthclip_hpc.launch.chain import left_for_later, plan_links, started_stages
from synthclip_hpc.launch.launching import check_places, start
from synthclip_hpc.launch.replacing import find_replacements, freeze
from synthclip_hpc.launch.report import dry_run_text, print_finished, print_later, print_replaced, print_started
from synthclip_hpc.run import Run
from synthclip_hpc.stage_order import STAGES

_INTERRUPTED = 130


def carry_out(run: Run, config: RunConfig, stages: Sequence[str], cluster: str, options: LaunchOptions) -> int:
    """Start what the stages lack and return the exit code.

    With `wait` it looks on until all is done, and starts what could not be laid out before. Raises what planning and
    submitting raise: UserError, PlanDrift, SubmissionRefused.
    """
    left: list[str] | None = None
    while True:
        # What has started is laid out too: a key that changes its plan must be refused, or its plan replaced.
        affected = [stage for stage in STAGES if stage in {*stages, *started_stages(run)}]
        laid_out = plan_links(run, config, affected)
        links = [link for link in laid_out if link.phase.stage in stages]
        before, left = left, left_for_later(links, stages)
        if left and left == before:
            print_later(run, links, left, cluster)  # what comes before has failed
            return 1
        replacements = find_replacements(run, laid_out, affected)
        check_places(run, links, config, cluster)
        print_replaced(replacements)
        if options.dry_run:
            print(dry_run_text(run, links, config, cluster), end="")
            print_later(run, links, left, cluster, wait=options.wait)
            return 0
        if not run.exists():
            run.create(config, provenance.of_submission(sys.argv))
        freeze(run, links, replacements, config, cluster, assume_ended=options.assume_ended)
        print_started(run, start(run, links, config, cluster, assume_ended=options.assume_ended))
        print_later(run, links, left, cluster, wait=options.wait)
        if not options.wait:
            print_finished(run, stages)
            return 0
        from synthclip_hpc.monitor.follow import follow

        code = follow(run)
        if not left or code == _INTERRUPTED:
            return code
        config = run.load_config()  # what another command has changed since stays
