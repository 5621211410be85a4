"""`python -m synthclip_hpc.probe stage=render`: do one shard as a real job, measure it, and forecast the rest.

The shard counts: it is the run's own, done by the same workers, and `submit` goes on with the others. It is measured by
what its attempts were busy for, so preemption makes a probe longer and its figures no worse.
"""

# ruff: noqa: UP045
# Optional[X]: see config/slurm.py.

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from synthclip_hpc.commands import ConfigOptions, config_of, parse_config_options
from synthclip_hpc.errors import UserError, run_command

if TYPE_CHECKING:
    from synthclip_hpc.config import RunConfig
    from synthclip_hpc.launch.chain import Link
    from synthclip_hpc.run import Run
    from synthclip_hpc.submissions import Submission

PROG = "python -m synthclip_hpc.probe"
POLL_S = {"local": 0.2, "slurm": 3.0}


@dataclass(frozen=True)
class ProbeOptions(ConfigOptions):
    """Options of `probe`."""

    stage: str = ""
    """Stage to measure."""
    preset: Optional[str] = None
    """Named configuration to start from."""
    cluster: str = "auto"
    """Where to work: `local`, `slurm`, `onemachine`, or `auto` (Slurm when sbatch is on the PATH)."""
    wait: bool = True
    """Wait for the shard, then print the forecast."""
    assume_ended: bool = False
    """Treat earlier submissions as ended when the queue cannot be asked."""


def probe(argv: list[str]) -> int:
    """Submit the first missing shard of a stage, wait for it, print what it took and what the rest will; return 0.

    1 when the shard did not get done, 130 when the waiting was interrupted.
    """
    run, options = parse_config_options(ProbeOptions, argv, PROG, "Do one shard as a job and measure it.")
    from synthclip_hpc.foresight.confirming import check_keys
    from synthclip_hpc.launch.launching import start_shards
    from synthclip_hpc.launch.place_check import resolve_cluster

    cluster = resolve_cluster(options.cluster)
    config = config_of(options)
    check_keys(config.slurm)
    link, missing = _prepare(run, config, options, cluster)
    at = shlex.quote(str(run.path))
    if not missing:
        print(f"{link.phase.key}: done, nothing is left to measure")
        return 0
    submission = start_shards(run, link, missing[:1], config, cluster, assume_ended=options.assume_ended, probe=True)
    if submission is None:
        raise UserError(f"run={run.path}: {link.phase.key} is being submitted by another command")
    jobs = f" (jobs {', '.join(submission.job_ids)})" if submission.job_ids else ""
    print(f"{link.phase.key}: shard {missing[0]} as submission {submission.name}{jobs}", flush=True)
    if not options.wait:
        print(f"when it is done: python -m synthclip_hpc.submit stage={link.phase.stage} dry-run=true run={at}")
        return 0
    try:
        _wait(run, submission)
    except KeyboardInterrupt:
        print(f"no longer waiting; the work goes on. Look again: python -m synthclip_hpc.status run={at}")
        return 130
    return _tell(run, link, config, cluster, submission, missing)


def _prepare(run: Run, config: RunConfig, options: ProbeOptions, cluster: str) -> tuple[Link, list[int]]:
    """Plan the stage as `submit` does; return the phase to measure, and its missing shards.

    Raises UserError when the stage cannot be planned, or has a phase before that is not finished.
    """
    from synthclip_hpc import provenance
    from synthclip_hpc.launch.chain import is_sealed, missing_shards, plan_links, started_stages, with_upstream
    from synthclip_hpc.launch.launching import start
    from synthclip_hpc.launch.place_check import check_places
    from synthclip_hpc.launch.replacing import find_replacements, freeze
    from synthclip_hpc.launch.report import print_replaced
    from synthclip_hpc.stage_order import STAGES, parse_stages

    wanted = parse_stages(options.stage)
    if len(wanted) != 1:
        raise UserError(f"stage={options.stage}: name one stage to measure, e.g. stage=render")
    stages = with_upstream(run, config, wanted, False)
    affected = [stage for stage in STAGES if stage in {*stages, *started_stages(run)}]
    laid_out = plan_links(run, config, affected, stages)
    links = [link for link in laid_out if link.phase.stage in stages]
    mine = [link for link in links if link.phase.stage == wanted[0] and _can_be_probed(link)]
    if not mine:
        raise UserError(
            f"stage={wanted[0]}: it has no work in shards, of which one could be measured; once it has been at work "
            "for a while, submit dry-run=true goes by what it did"
        )
    replacements = find_replacements(run, laid_out, affected)
    check_places(run, links, config, cluster)
    print_replaced(replacements)
    if not run.exists():
        run.create(config, provenance.of_submission(sys.argv))
    freeze(run, links, replacements, config, cluster, assume_ended=options.assume_ended)
    inline = [link for link in links if link.phase.inline]
    start(run, inline, config, cluster, assume_ended=options.assume_ended)
    for link in mine:
        if not is_sealed(run, link) and (missing := missing_shards(run, link)):
            return link, missing
    return mine[-1], []


def _can_be_probed(link: Link) -> bool:
    # A gang's one shard is all of its work.
    return not link.phase.inline and link.phase.kind != "gang" and link.plan.num_shards > 0


def _wait(run: Run, submission: Submission) -> None:
    """Wait until nothing of the submission is alive: a `submit` that comes then finds the way free."""
    from synthclip_hpc.launch.environment import environment_of
    from synthclip_hpc.launch.liveness import living
    from synthclip_hpc.submissions import load_submission

    while True:
        try:
            with environment_of(submission.environment):
                alive = living([load_submission(run, submission.name)])
        except UserError as error:  # the queue does not answer: it will
            print(error, file=sys.stderr)
            alive = [submission]
        if not alive:
            return
        time.sleep(POLL_S[submission.cluster])


def _tell(run: Run, link: Link, config: RunConfig, cluster: str, submission: Submission, missing: Sequence[int]) -> int:
    """Print what the shard took and the forecast of the others; return 1 when the shard is not done."""
    from sharding.marker import is_done
    from synthclip_hpc.foresight.chain import forecast_link, target_of
    from synthclip_hpc.foresight.measured import measured_lines
    from synthclip_hpc.foresight.words import amounts_table, costs_table, remarks, sources
    from synthclip_hpc.sealing import last_errors

    shard, phase, at = missing[0], link.phase, shlex.quote(str(run.path))
    if not is_done(link.directory(run), link.plan, shard):
        why = last_errors(run, phase.stage, phase.name).get(shard, "its job ended before it was done")
        print(f"{phase.key}: shard {shard} is not done: {why}", file=sys.stderr)
        print(f"look: python -m synthclip_hpc.status run={at}; logs in {run.logs(phase.stage)}", file=sys.stderr)
        return 1
    print("\n".join(measured_lines(run, link, submission, shard)))
    one = forecast_link(run, link, config, target_of(config, cluster))
    lines = ["", *amounts_table([one]), "", *costs_table([one])[:-1], ""]
    print("\n".join([*lines, *remarks([one], config.slurm.gpu_watts), *sources([one])]))
    if one.missing:
        print(f"go on: python -m synthclip_hpc.submit stage={phase.stage} run={at} cluster={cluster}")
    return 0


def main() -> int:
    """Entry point."""
    return run_command(probe)


if __name__ == "__main__":
    sys.exit(main())
