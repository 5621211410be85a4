"""What `submit` and `resume` do once they know the run, its configuration and the stages: plan, bind, start, wait."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from synthclip_hpc import provenance
from synthclip_hpc.commands import LaunchOptions
from synthclip_hpc.config import RunConfig, with_values
from synthclip_hpc.foresight.confirming import check_keys, confirm
from synthclip_hpc.foresight.dry_run import dry_run_text
from synthclip_hpc.foresight.pace import other_run
from synthclip_hpc.launch.chain import Link, left_for_later, plan_links, started_stages
from synthclip_hpc.launch.launching import start
from synthclip_hpc.launch.place_check import check_places
from synthclip_hpc.launch.replacing import find_replacements, freeze
from synthclip_hpc.launch.report import print_finished, print_later, print_remarks, print_replaced, print_started
from synthclip_hpc.recent import remember_run
from synthclip_hpc.run import Run
from synthclip_hpc.stage_order import STAGES

_INTERRUPTED = 130
_REFUSED = 1


def carry_out(
    run: Run,
    config: RunConfig,
    stages: Sequence[str],
    cluster: str,
    options: LaunchOptions,
    *,
    ask: bool = False,
    only: Mapping[str, frozenset[int]] | None = None,
    exclude: str | None = None,
) -> int:
    """Start what the stages lack and return the exit code.

    With `wait` it looks on until all is done, and starts what could not be laid out before. With `ask` the user is
    asked before much is spent; 1 when the answer is no. `only` has, by `stage/phase`, the shards to take of those that
    are missing; `exclude` nodes that these submissions, and no later ones, leave alone. Raises what planning and
    submitting raise: UserError, PlanDrift, SubmissionRefused.
    """
    check_keys(config.slurm)
    other = other_run(options.estimate_from)
    left: list[str] | None = None
    remarked: set[str] = set()
    while True:
        # What has started is laid out too: a key that changes its plan must be refused, or its plan replaced.
        affected = [stage for stage in STAGES if stage in {*stages, *started_stages(run)}]
        laid_out = plan_links(run, config, affected, stages)
        links = [_limited(link, only) for link in laid_out if link.phase.stage in stages]
        before, left = left, left_for_later(links, stages)
        if left and left == before:
            print_later(run, links, left, cluster)  # what comes before has failed
            return 1
        replacements = find_replacements(run, laid_out, affected)
        asked = _sparing(config, exclude)
        check_places(run, links, asked, cluster)
        print_replaced(replacements)
        print_remarks(run, [link for link in links if link.phase.key not in remarked])
        remarked |= {link.phase.key for link in links}
        if options.dry_run:
            print(dry_run_text(run, links, asked, cluster, left, other), end="")
            print_later(run, links, left, cluster, wait=options.wait)
            return 0
        if ask and not confirm(run, links, asked, cluster, left, other, assume_ended=options.assume_ended):
            print("nothing was submitted")
            return _REFUSED
        ask = False  # what was asked for included all that is laid out later
        if not run.exists():
            run.create(config, provenance.of_submission(sys.argv))
            remember_run(run.path)
        freeze(run, links, replacements, config, cluster, assume_ended=options.assume_ended)
        print_started(run, start(run, links, asked, cluster, assume_ended=options.assume_ended))
        print_later(run, links, left, cluster, wait=options.wait)
        if not options.wait:
            print_finished(run, stages)
            return 0
        from synthclip_hpc.monitor.follow import follow

        code = follow(run)
        if not left or code == _INTERRUPTED or only is not None:
            return code
        config = run.load_config()  # what another command has changed since stays


def _limited(link: Link, only: Mapping[str, frozenset[int]] | None) -> Link:
    return link if only is None else replace(link, only=only.get(link.phase.key, frozenset()))


def _sparing(config: RunConfig, exclude: str | None) -> RunConfig:
    if exclude is None:
        return config
    nodes = ",".join(one for one in (config.slurm.exclude_also, exclude) if one)
    return with_values(config, {"slurm.exclude_also": nodes})
