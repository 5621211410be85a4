"""What `dry-run=true` prints: the plan, what it costs and who says so, and the sbatch scripts. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

from synthclip_hpc.config import RunConfig
from synthclip_hpc.foresight.chain import forecast_chain, target_of
from synthclip_hpc.foresight.words import amounts_table, costs_table, remarks, sources
from synthclip_hpc.launch.chain import Link
from synthclip_hpc.run import Run


def dry_run_text(
    run: Run,
    links: Sequence[Link],
    config: RunConfig,
    cluster: str,
    later: Sequence[str] = (),
    other: Run | None = None,
) -> str:
    """Return plan, costs and the sbatch script of each phase; equal inputs give equal text.

    `later` names the phases that could not be laid out yet, `other` a run to take figures from. Raises UserError for
    numbers of workers that cannot be.
    """
    target = target_of(config, cluster)
    forecasts = forecast_chain(run, links, config, target, later=later, other=other)
    lines = [f"run: {run.path}", f"cluster: {cluster}", ""]
    lines += [*amounts_table(forecasts), "", *costs_table(forecasts), ""]
    lines += [*remarks(forecasts, config.slurm.gpu_watts), "", *sources(forecasts)]
    if target is not None:
        from synthclip_hpc.launch.arrays import script_of

        for link, one in zip(links, forecasts, strict=False):
            if one.shape.elements:
                script = script_of(run, link, target, one.missing).rstrip("\n")
                lines += ["", f"sbatch script of {link.phase.key}:", script]
    return "\n".join(lines) + "\n"
