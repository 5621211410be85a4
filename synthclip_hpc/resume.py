"""`python -m synthclip_hpc.resume run=...`: start again whatever is neither finished nor alive."""

# ruff: noqa: UP045
# Optional[X]: see config/slurm.py.

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Optional

from synthclip_hpc.commands import LaunchOptions, config_of, parse_config_options
from synthclip_hpc.errors import UserError, run_command

PROG = "python -m synthclip_hpc.resume"


@dataclass(frozen=True)
class ResumeOptions(LaunchOptions):
    """Options of `resume`."""

    only: Optional[str] = None
    """Take only these of the missing shards: `failed`, `group:3f9a1c07` (see `failures`), `shards:7,9-12` or
    `shards:render/7`. The others stay open."""
    exclude: Optional[str] = None
    """Nodes that these jobs leave alone besides those of the profile, e.g. `n1,n[4-7]`; later ones may use them."""


def resume(argv: list[str]) -> int:
    """Submit the missing shards of every started phase and chain the rest; return the exit code."""
    run, options = parse_config_options(ResumeOptions, argv, PROG, "Start again what is neither finished nor alive.")
    from synthclip_hpc.carrying_out import carry_out
    from synthclip_hpc.launch.arrays import find_target
    from synthclip_hpc.launch.chain import started_stages
    from synthclip_hpc.launch.environment import use_latest
    from synthclip_hpc.launch.nodes import check_nodes, parse_nodes
    from synthclip_hpc.launch.place_check import resolve_cluster
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
    cluster = resolve_cluster(cluster)
    exclude = parse_nodes("exclude", options.exclude)
    if exclude is not None and cluster == "local":
        raise UserError(f"exclude={exclude}: cluster=local has no nodes to choose from; leave it out")
    if exclude is not None:
        find_target(config_of(options), cluster)  # from here on the tools of Slurm ask the one that is meant
        check_nodes("exclude", exclude)
    only = None
    if options.only is not None:
        from synthclip_hpc.triage.choice import choose_shards, shown

        choice = choose_shards(run, options.only)
        only = choice.shards
        if not only:
            print(f"only={options.only}: no missing shard's last attempt ended with an error of its own; nothing to do")
            return 0
        print(choice.group, end="\n" if choice.group else "")
        for key, shards in only.items():
            print(f"only={options.only}: of {key} {shown(sorted(shards))}")
    return carry_out(run, config_of(options), stages, cluster, options, only=only, exclude=exclude)


def main() -> int:
    """Entry point."""
    return run_command(resume)


if __name__ == "__main__":
    sys.exit(main())
