"""A phase that needs no job: done by the command itself, through the same steps as any worker's."""

from __future__ import annotations

import secrets

from sharding.journal import Journal
from synthclip_hpc.config import RunConfig
from synthclip_hpc.launch.chain import Link
from synthclip_hpc.run import Run
from synthclip_hpc.sealing import seal_phase
from synthclip_hpc.work import Bench, bound_inputs, describe, work


def do_inline(run: Run, link: Link, config: RunConfig) -> None:
    """Work through all shards of a phase here and now, and seal it. Raises what the phase raises."""
    attempt = f"inline{secrets.token_hex(4)}_0_0"
    journal = Journal(link.directory(run).journal_path(attempt))
    journal.event("start", attempt=attempt, submission=None)
    bench = Bench(run, link.phase, link.plan, config, attempt, journal, bound_inputs(run, link.phase, config))
    try:
        work(bench, list(range(link.plan.num_shards)), error_limit=0)
        seal_phase(run, link.phase.stage, link.phase.name)
    except BaseException as error:
        journal.event("end", reason="error", **describe(error))
        raise
    journal.event("end", reason="completed")
